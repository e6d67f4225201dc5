// The screen way of the non-local search: see nonlocal.cu.
//
// |q - k|^2 = |q|^2 + |k|^2 - 2 q.k, and the products of a query with all candidates of a window are a correlation,
// which tensor cores do as products of matrices: of the query's rows, shifted by one pixel from row to row of a matrix
// (Toeplitz), with the rows of the window. In half precision that errs, by a bound that is known. So it only says which
// candidates cannot enter the list; the others, few, are measured in single precision from the pixels themselves.
#pragma once

#include <cuda_pipeline.h>

#include <climits>

#include "cuda/nonlocal.cuh"
#include "cuda/tensor_core.cuh"

namespace vnls {

constexpr int kScreenPad = 32;  // no tile that begins in a window leaves a frame so far

// The keys in half precision, planes [batch, frames, channels], mirrored kScreenPad pixels beyond their borders, less
// their middle and scaled so that the largest is near 128; and the square norm of the patch of every candidate, planes
// [batch, frames, heads] of the same size.
struct Screen {
  const __half* keys;
  const float* norms;
  const int* range;    // sortable {least, largest} finite value of queries and keys
  int height, stride;  // of a plane

  __host__ __device__ int64_t plane() const { return int64_t(height) * stride; }
};

// Floats as integers that sort as they do, and back.
__device__ inline int sortable(int bits) { return bits >= 0 ? bits : bits ^ 0x7fffffff; }

// How values become those of the screen.
struct ScreenScale {
  float middle, factor;

  __device__ explicit ScreenScale(const int* range) {
    const float least = __int_as_float(sortable(range[0])), largest = __int_as_float(sortable(range[1]));
    middle = .5f * least + .5f * largest;
    const float reach = fmaxf(largest - middle, middle - least);
    factor = reach > 0 ? exp2f(fminf(fmaxf(7 - floorf(log2f(reach)), -100.f), 100.f)) : 1;
  }
  __device__ __half operator()(float v) const { return __float2half_rn((v - middle) * factor); }
};

__global__ void __launch_bounds__(256) range_kernel(const float* __restrict__ values, int64_t count, int* range) {
  int least = INT_MAX, largest = INT_MIN;
  for (int64_t i = blockIdx.x * int64_t(blockDim.x) + threadIdx.x; i < count; i += int64_t(gridDim.x) * blockDim.x) {
    const float v = __ldg(values + i);
    if (!isfinite(v)) continue;
    const int place = sortable(__float_as_int(v));
    least = min(least, place), largest = max(largest, place);
  }
  least = __reduce_min_sync(kWholeWarp, least), largest = __reduce_max_sync(kWholeWarp, largest);
  if (threadIdx.x % kWarp == 0) {
    atomicMin(range, least);
    atomicMax(range + 1, largest);
  }
}

// The keys of a row of a padded plane a block.
__global__ void __launch_bounds__(128)
    screen_keys_kernel(const float* __restrict__ keys, int height, int width, Screen screen, __half* out) {
  const ScreenScale scale(screen.range);
  const int64_t plane = blockIdx.x / screen.height;
  const int y = static_cast<int>(blockIdx.x % screen.height);
  const float* row = keys + (plane * height + mirror_index(y - kScreenPad, height)) * width;
  out += plane * screen.plane() + int64_t(y) * screen.stride;
  for (int x = threadIdx.x; x < screen.stride; x += blockDim.x) {
    out[x] = scale(__ldg(row + mirror_index(x - kScreenPad, width)));
  }
}

constexpr int kNormRows = 8;

// Norms of patches of kNormRows rows of candidates a block; nothing is written beyond the frame.
template <int kPatch, int kFeatures>
__global__ void __launch_bounds__(128) screen_norms_kernel(const __grid_constant__ NonlocalArgs<float> a,
                                                           const __grid_constant__ Screen screen, float* out) {
  const int strips = (a.k_height + kNormRows - 1) / kNormRows;
  const int64_t plane = blockIdx.x / strips;  // [batch, frames, heads]
  const int first = static_cast<int>(blockIdx.x % strips) * kNormRows;
  const __half* keys = screen.keys + plane * kFeatures * screen.plane();
  const int64_t corner = int64_t(kScreenPad + first) * screen.stride + kScreenPad;
  keys += corner + a.s.first_tap * (screen.stride + 1);
  out += plane * screen.plane() + corner;
  const int x = blockIdx.y * blockDim.x + threadIdx.x;
  if (x < a.k_width) {
    float lines[kNormRows + kPatch - 1];
#pragma unroll
    for (int row = 0; row < kNormRows + kPatch - 1; ++row) {
      float sum = 0;
#pragma unroll
      for (int c = 0; c < kFeatures; ++c) {
#pragma unroll
        for (int column = 0; column < kPatch; ++column) {
          const float v = __half2float(keys[c * screen.plane() + row * screen.stride + x + column]);
          sum = fmaf(v, v, sum);
        }
      }
      lines[row] = sum;
    }
#pragma unroll
    for (int row = 0; row < kNormRows; ++row) {
      float sum = 0;
#pragma unroll
      for (int tap = 0; tap < kPatch; ++tap) sum += lines[row + tap];
      if (first + row < a.k_height) out[row * screen.stride + x] = sum;
    }
  }
}

// The query as left operands of products with rows of the window. A matrix has a row for each of eight columns of
// candidates, and these again for the candidates one row below: the query's row `line` and the one before it. In shared
// memory each row of the query has its columns 0 .. 7 for these eight, then 8 .. 15.
template <int kPatch, int kFeatures>
struct ShiftedQuery {
  static constexpr int kRow = 128, kHalves = kFeatures * kPatch * kRow;
  const __half* from;  // of this lane

  __device__ ShiftedQuery(const __half* rows, int lane)
      : from(rows + lane / 16 * 64 - lane / 8 % 2 * kRow + lane % 8 * 8) {}

  __device__ static void put(__half* rows, int c, int row, int column, __half value) {
    rows += (c * kPatch + row) * kRow;
#pragma unroll
    for (int shift = 0; shift < 8; ++shift) {
      const int at = column + shift;
      rows[at / 8 * 64 + shift * 8 + at % 8] = value;
    }
  }
  __device__ void load(Fragment& f, int c, int line) const {
    // Of the row before the first, or behind the last, something else is read, and not used.
    load_matrix(f, from + (c * kPatch + line) * kRow);
    if (line == kPatch) f[0] = f[2] = 0;
    if (line == 0) f[1] = f[3] = 0;
  }
};

// A window of keys in shared memory, kTiles + 1 times eight columns of kRows rows, and how its candidates lie in
// matrices: tile t holds those of columns 8 t .. 8 t + 7, group g those of rows 16 g .. 16 g + 15.
template <int kPatch, int kFeatures, int kTiles>
struct ScreenShape {
  static constexpr int kMostSide = 8 * kTiles - 3;  // copies begin at every fourth column
  static constexpr int kGroups = kMostSide > 16 ? 2 : 1;
  static constexpr int kScores = 4 * kTiles * kGroups;  // a lane
  static constexpr int kRows = (kMostSide + kPatch + 3) / 4 * 4;
  static constexpr int kStride = 40;  // halves; eight even or odd rows in turn lie in different banks
  static constexpr int kTileHalves = kFeatures * kRows * kStride;
  static constexpr int kQueryStride = 8;
  static constexpr int kQueryFloats = kFeatures * kPatch * kQueryStride;
  static constexpr int kQueue = 36;  // fewer than are measured together, and one of each lane
  static constexpr int kBytes =
      (kTileHalves + ShiftedQuery<kPatch, kFeatures>::kHalves) * 2 + (kQueryFloats + kQueue) * 4;

  // Even rows come before the odd ones.
  __host__ __device__ static constexpr int row_start(int c, int y) {
    return (c * kRows + y % 2 * (kRows / 2) + y / 2) * kStride;
  }
  // Row and column of a lane's score in the tile, of its 24 or fewer.
  __device__ static int row(int score, int lane) {
    return score / (4 * kTiles) * 16 + lane % 4 * 4 + score % 2 * 2 + score % 4 / 2;
  }
  __device__ static int column(int score, int lane) { return score / 4 % kTiles * 8 + lane / 4; }
};

// What half precision may hide: bounds between distances and those of rounded values, both scaled. Norms of the
// rounding errors are at most kUnit of the norms, 2^-17 of the square of their sum covers those of the summation.
struct ScreenBound {
  static constexpr float kUnit = 1.01f / 2048, kTiny = 1e-5f, kSummed = 1.f / (1 << 17);
  float square, norm;  // of the rounded query; norm bounds that of the query itself

  __device__ explicit ScreenBound(float square) : square(square), norm(sqrtf(square) * 1.001f + 1e-3f) {}

  // The least score, q.k - |k|^2 / 2, of a candidate whose true distance is at most root^2.
  __device__ float least_score(float root) const {
    const float sum = 2 * norm + root, edge = root * 1.00001f + kUnit * sum + kTiny;
    return .5f * (square - edge * edge - kSummed * sum * sum);
  }
  // Root of the largest true distance of a candidate with that score.
  __device__ float largest_root(float score) const {
    const float seen = fmaxf(square - 2 * score, 0), sum = 2 * norm + 1.01f * sqrtf(seen);
    return sqrtf(seen + kSummed * sum * sum) + kUnit * sum + kTiny;
  }
};

// A window as the screen sees it: its tile begins at column x, `skip` columns before the first candidates.
struct ScreenWindow {
  int64_t plane;  // [batch, frames, heads]
  int y, x, skip, side;

  __device__ ScreenWindow(const NonlocalArgs<float>& a, const NonlocalQuery& query, const Placed<float>& p)
      : plane((query.b * a.frames + p.frame) * a.s.heads + query.head), y(0), x(0), skip(0), side(p.side) {
    if (side == 0) return;
    y = static_cast<int>(rintf(candidate_y(a, p, 0))), x = static_cast<int>(rintf(candidate_x(a, p, 0)));
    skip = (x + a.s.first_tap + kScreenPad) % 4;
    x -= skip;
  }
};

template <int kPatch, int kFeatures, int kTiles>
__global__ void __launch_bounds__(128, 4)
    screen_kernel(const __grid_constant__ NonlocalArgs<float> a, const __grid_constant__ Screen screen,
                  NonlocalLists<float> out, int warp_bytes) {
  using Shape = ScreenShape<kPatch, kFeatures, kTiles>;
  using Shifted = ShiftedQuery<kPatch, kFeatures>;
  constexpr int kAcross = 8;  // lanes that share a row of the copy, or a candidate that is measured
  constexpr int kParts = kWarp / kAcross;
  extern __shared__ float4 screen_shared[];
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const int64_t n = blockIdx.x * int64_t(blockDim.x / kWarp) + warp;
  if (n >= a.count) return;
  __half* tile = reinterpret_cast<__half*>(reinterpret_cast<char*>(screen_shared) + warp * warp_bytes);
  __half* shifted = tile + Shape::kTileHalves;
  float* patch = reinterpret_cast<float*>(shifted + Shifted::kHalves);
  unsigned* queue = reinterpret_cast<unsigned*>(patch + Shape::kQueryFloats);  // of candidates to be measured
  ScreenWindow* targets = reinterpret_cast<ScreenWindow*>(queue + Shape::kQueue);
  Placed<float>* places = reinterpret_cast<Placed<float>*>(targets + a.windows);
  const NonlocalQuery query(a, n);
  place_windows(a, query, places, lane);

  // The query, as it is and rounded.
  const ScreenScale scale(screen.range);
  const int64_t q_size = int64_t(a.q_height) * a.q_width, k_size = int64_t(a.k_height) * a.k_width;
  const float* q = a.queries + ((query.b * a.frames + query.t) * a.channels() + query.head * kFeatures) * q_size;
  for (int i = lane; i < Shifted::kHalves / 8; i += kWarp) reinterpret_cast<float4*>(shifted)[i] = float4{};
  __syncwarp();
  float square = 0;
  for (int tap = lane; tap < kPatch * kPatch; tap += kWarp) {
    const int row = tap / kPatch, column = tap % kPatch;
    int64_t pixel;
    query_tap(a, query, row, column, pixel);
#pragma unroll
    for (int c = 0; c < kFeatures; ++c) {
      const float v = __ldg(q + c * q_size + pixel);
      const __half rounded = scale(v);
      patch[(c * kPatch + row) * Shape::kQueryStride + column] = v;
      Shifted::put(shifted, c, row, column, rounded);
      square = fmaf(__half2float(rounded), __half2float(rounded), square);
    }
  }
#pragma unroll
  for (int mask = kWarp / 2; mask > 0; mask >>= 1) square += __shfl_xor_sync(kWholeWarp, square, mask);
  __syncwarp();
  const ScreenBound bound(square);
  const Shifted left(shifted, lane);

  for (int w = lane; w < a.windows; w += kWarp) targets[w] = ScreenWindow(a, query, places[w]);
  __syncwarp();
  const auto begin_copy = [&](const ScreenWindow& window) {
    const int64_t line = window.y + a.s.first_tap + kScreenPad + lane / kAcross;
    const __half* from = screen.keys + window.plane * kFeatures * screen.plane() + line * screen.stride + window.x +
                         a.s.first_tap + kScreenPad + lane % kAcross * 4;
    __half* to = tile + Shape::row_start(0, lane / kAcross) + lane % kAcross * 4;
#pragma unroll
    for (int c = 0; c < kFeatures; ++c, from += screen.plane()) {
      const __half* line = from;
#pragma unroll
      for (int row = 0; row < Shape::kRows; row += 4, line += 4 * screen.stride) {
        __pipeline_memcpy_async(to + Shape::row_start(c, row), line, 4 * sizeof(__half));
      }
    }
    __pipeline_commit();
  };

  // Where a lane's row of eight columns begins in the tile; rows that hold no candidate are read again, not beyond.
  const __half* rows[Shape::kGroups];
#pragma unroll
  for (int g = 0; g < Shape::kGroups; ++g) {
    rows[g] = tile + min(8 * g + lane % 8, (Shape::kRows - 1 - kPatch) / 2) * Shape::kStride + lane / 8 * 8;
  }
  // Which of a lane's scores belong to candidates: bit i for score i.
  const auto in_tile = [&](const ScreenWindow& window) {
    unsigned in_rows = 0, in_columns = 0;
#pragma unroll
    for (int i = 0; i < Shape::kScores; ++i) {
      if (i / 4 % kTiles == 0) {
        const int y = Shape::row(i, lane);
        const bool in = y < window.side && unsigned(window.y + y) < unsigned(a.k_height);
        constexpr unsigned kEveryTile = kTiles == 3 ? 0x111 : 0x11;
        in_rows |= in ? kEveryTile << i : 0;
      }
      if (i % 4 == 0 && i < 4 * kTiles) {
        const int x = Shape::column(i, lane);
        const bool in =
            unsigned(x - window.skip) < unsigned(window.side) && unsigned(window.x + x) < unsigned(a.k_width);
        constexpr unsigned kEveryRow = Shape::kGroups == 2 ? 0xf | (0xf << (4 * kTiles)) : 0xf;
        in_columns |= in ? kEveryRow << i : 0;
      }
    }
    return in_rows & in_columns;
  };
  fill_lists<1>(a, query, places, out, n, lane, [&](int first, int windows, int known, auto&& offer) {
    float worst = NAN, reach = INFINITY;  // as many as are wanted have distances up to worst, and up to reach^2, scaled
    int waiting = 0;
    const auto measure = [&](int some) {  // of those that wait, eight lanes each: a lane takes a column of the patch
      const int part = lane / kAcross, column = lane % kAcross;
      const unsigned code = part < some ? queue[waiting - some + part] : 0;
      const int w = first + static_cast<int>(code >> 10), y = code >> 5 & 31, x = code & 31;
      const ScreenWindow window = targets[w];
      const int top = window.y + y + a.s.first_tap, at = window.x + x + a.s.first_tap + column;
      const bool inside = top >= 0 && top + kPatch <= a.k_height;
      const float* line = a.keys + window.plane * kFeatures * k_size + mirror_index(at, a.k_width);
      const float* wanted = patch + column;
      float sum = 0;
      const auto add_row = [&](int row, const float* from) {
#pragma unroll
        for (int c = 0; c < kFeatures; ++c, from += k_size) {
          const float difference = wanted[(c * kPatch + row) * Shape::kQueryStride] - __ldg(from);
          sum = fmaf(difference, difference, sum);
        }
      };
      if (part < some && column < kPatch) {
        if (inside) {
          line += int64_t(top) * a.k_width;
#pragma unroll
          for (int row = 0; row < kPatch; ++row, line += a.k_width) add_row(row, line);
        } else {
#pragma unroll 1
          for (int row = 0; row < kPatch; ++row) {
            add_row(row, line + int64_t(mirror_index(top + row, a.k_height)) * a.k_width);
          }
        }
      }
      __syncwarp();
#pragma unroll
      for (int mask = kAcross / 2; mask > 0; mask >>= 1) sum += __shfl_xor_sync(kWholeWarp, sum, mask);
      const bool real = part < some && column == 0;
      worst = offer(real ? w * a.side2() + y * a.s.ws + x - window.skip : -1, sum == sum ? sum : INFINITY);
      waiting -= some;
    };
    begin_copy(targets[first]);
    for (int s = first; s < first + windows; ++s) {
      const ScreenWindow window = targets[s];
      if (worst < INFINITY) reach = fminf(reach, sqrtf(worst) * scale.factor);
      const float least = reach < INFINITY ? bound.least_score(reach) : 0;
      // How far the scores lie above the least. What is no number counts as positive.
      float margins[Shape::kScores / 4][4];
      const float* norms = screen.norms + window.plane * screen.plane() +
                           int64_t(window.y + kScreenPad + lane % 4 * 4) * screen.stride + window.x + kScreenPad +
                           lane / 4;
#pragma unroll
      for (int i = 0; i < Shape::kScores; ++i) {
        const float norm = __ldg(norms + int64_t(Shape::row(i, 0)) * screen.stride + Shape::column(i, 0));
        margins[i / 4][i % 4] = fmaf(-.5f, norm, -least);
      }
      __pipeline_wait_prior(0);
      __syncwarp();
#pragma unroll
      for (int c = 0; c < kFeatures; ++c) {
#pragma unroll
        for (int line = 0; line <= kPatch; ++line) {
          Fragment operand;
          left.load(operand, c, line);
#pragma unroll
          for (int g = 0; g < Shape::kGroups; ++g) {
            Fragment blocks;  // of eight columns
            load_matrix(blocks, rows[g] + Shape::row_start(c, line));
#pragma unroll
            for (int t = 0; t < kTiles; ++t) {
              float(&sums)[4] = margins[g * kTiles + t];
              if (t % 2 == 0) {
                multiply(sums, operand, blocks[t], blocks[t + 1]);
              } else {  // a pair of registers that no product takes at once
                multiply_half(sums, operand[0], operand[1], blocks[t]);
                multiply_half(sums, operand[2], operand[3], blocks[t + 1]);
              }
            }
          }
        }
      }
      __syncwarp();
      if (s + 1 < first + windows) begin_copy(targets[s + 1]);

      const unsigned valid = in_tile(window);
      unsigned near = 0;  // bit i: score i
      const auto pass = [&](float more) {
        unsigned far = 0;
#pragma unroll
        for (int i = Shape::kScores - 1; i >= 0; --i) {
          far = __funnelshift_l(__float_as_uint(margins[i / 4][i % 4] - more), far, 1);  // the sign, from below
        }
        near = valid & ~far;
      };
      const int ordinal = s * a.side2();
      int known_at = -1;  // bit of the known candidate, of this lane
      if (known >= ordinal && known < ordinal + a.side2()) {
        const int y = (known - ordinal) / a.s.ws, x = (known - ordinal) % a.s.ws + window.skip;
        if (lane == y / 4 % 4 + x % 8 * 4) known_at = (y / 16 * kTiles + x / 8) * 4 + y % 2 * 2 + y / 2 % 2;
      }
      pass(0);
      if (!(reach < INFINITY) || __reduce_add_sync(kWholeWarp, __popc(near)) > kWarp) {
        // So many cannot all enter: each lane's best vouches for itself, and the last of as many as are wanted for all.
        float best = -INFINITY;
#pragma unroll
        for (int i = 0; i < Shape::kScores; ++i) {
          if ((valid >> i & 1) && i != known_at) best = fmaxf(best, margins[i / 4][i % 4]);
        }
        const auto ranks = Nearest<float, 1>::sort(Rank<float>::of(-best, lane), lane);
        reach = fminf(reach, bound.largest_root(least - ranks.from_lane(a.s.keep - 1).key()));
        pass(bound.least_score(reach) - least);
      }
      if (worst == 0) near = 0;  // nothing that comes later can be nearer
      if (known_at >= 0) near |= valid & (1u << known_at);

      for (;;) {
        const unsigned owners = __ballot_sync(kWholeWarp, near != 0);
        if (near) {
          const int score = __ffs(near) - 1, at = waiting + __popc(owners & ((1u << lane) - 1));
          queue[at] = (s - first) << 10 | Shape::row(score, lane) << 5 | Shape::column(score, lane);
          near &= near - 1;
        }
        waiting += __popc(owners);
        __syncwarp();
        const bool ends = !owners && s + 1 == first + windows;
        while (waiting >= (ends ? 1 : kParts)) measure(min(waiting, kParts));
        if (!owners) break;
      }
    }
    if (worst < INFINITY) return;
    // Fewer candidates than are wanted: those that do not exist make up for it, in their order.
    for (int start = first * a.side2(); start < (first + windows) * a.side2(); start += kWarp) {
      const int i = start + lane;
      bool missing = i < (first + windows) * a.side2();
      if (missing) {
        const Placed<float> p = places[i / a.side2()];
        const int within = i % a.side2();
        missing = p.side == 0 || !is_candidate(a, p, within / a.s.ws, within % a.s.ws);
      }
      offer(missing ? i : -1, INFINITY);
    }
  });
}

}  // namespace vnls
