// The ways of the non-local search that read four channels at once: see nonlocal.cu.
#pragma once

#include "cuda/nonlocal.cuh"

namespace vnls {

// Largest sides of a window, and of the square of all samples that its patches share, that quads_kernel takes.
constexpr int kMostWindow = 16, kMostSamples = 24;

constexpr int kQuadWarps = 4;

// Row and column of the i-th of a square's places, for all lanes of a block: divisions are dear.
template <int kPlaces>
struct Grid {
  uchar2 at[kPlaces];

  __device__ void fill(int side) {
    for (int i = threadIdx.x; i < side * side; i += blockDim.x) {
      at[i] = make_uchar2(static_cast<unsigned char>(i / side), static_cast<unsigned char>(i % side));
    }
  }
};

__device__ inline float4 blend4(float4 low, float4 high, float f) {
  return {blend(low.x, high.x, f), blend(low.y, high.y, f), blend(low.z, high.z, f), blend(low.w, high.w, f)};
}

// Four channels of a pixel of a planar video.
__device__ inline float4 quad_of_planes(const float* from, int64_t size) {
  return {__ldg(from), __ldg(from + size), __ldg(from + 2 * size), __ldg(from + 3 * size)};
}

template <bool kProd>
__device__ inline float add4(float sum, float4 u, float4 v) {
  if (kProd) return fmaf(u.x, v.x, fmaf(u.y, v.y, fmaf(u.z, v.z, fmaf(u.w, v.w, sum))));
  const float x = u.x - v.x, y = u.y - v.y, z = u.z - v.z, w = u.w - v.w;
  return fmaf(x, x, fmaf(y, y, fmaf(z, z, fmaf(w, w, sum))));
}

// A video of [batch, frames, channels / 4, height, width, 4], mirrored `pad` pixels beyond its borders.
struct Quads {
  const float4* pixels;
  int pad, stride;  // pixels from row to row
  int64_t size;     // pixels from plane to plane

  Quads() = default;
  Quads(const float4* pixels, int height, int width, int pad)
      : pixels(pixels), pad(pad), stride(width + 2 * pad), size(int64_t(height + 2 * pad) * (width + 2 * pad)) {}

  // The pixel at the origin of a query's head in a frame, in its first plane.
  __device__ const float4* origin(const NonlocalArgs<float>& a, const NonlocalQuery& query, int frame) const {
    const int64_t plane = (query.b * a.frames + frame) * (a.channels() / 4) + query.head * (a.features / 4);
    return pixels + plane * size + int64_t(pad) * stride + pad;
  }
};

__global__ void __launch_bounds__(128) quads_of_kernel(const float* __restrict__ video, int64_t pixels, int height,
                                                       int width, int pad, float4* __restrict__ quads) {
  const int64_t n = blockIdx.x * int64_t(blockDim.x) + threadIdx.x;
  if (n >= pixels) return;
  const int across = width + 2 * pad, down = height + 2 * pad;
  const int64_t row = n / across, plane = row / down, size = int64_t(height) * width;
  const int x = static_cast<int>(n - row * across) - pad, y = static_cast<int>(row - plane * down) - pad;
  const int64_t at = int64_t(mirror_index(y, height)) * width + mirror_index(x, width);
  quads[n] = quad_of_planes(video + plane * 4 * size + at, size);
}

// --- points: single pixels, candidates one pixel apart, short lists

// Squared differences of a key pixel to its neighbours: right, below, and across the diagonals of the square that it
// begins. A point x between four pixels k_i with weights w_i lies |q - x|^2 = sum w_i |q - k_i|^2 - sum w_i w_j
// |k_i - k_j|^2 from q: the first from distances to pixels, which candidates share, the second without the query.
// Beyond the border nothing has any weight.
__global__ void __launch_bounds__(128) texture_kernel(const __grid_constant__ NonlocalArgs<float> a, const Quads keys,
                                                      int64_t pixels, float4* __restrict__ texture) {
  const int64_t n = blockIdx.x * int64_t(blockDim.x) + threadIdx.x;  // [batch, frames, heads] of a plane of `keys`
  if (n >= pixels) return;
  const int64_t within = n % keys.size;
  const int right = within + 1 < keys.size ? 1 : 0, below = within + 1 + keys.stride < keys.size ? keys.stride : 0;
  const float4* key = keys.pixels + n / keys.size * (a.features / 4) * keys.size + within;
  float4 sums{};
  for (int c = 0; c < a.features / 4; ++c, key += keys.size) {
    const float4 k00 = __ldg(key), k01 = __ldg(key + right), k10 = __ldg(key + below);
    const float4 k11 = __ldg(key + below + right);
    sums.x = add4<false>(sums.x, k00, k01), sums.y = add4<false>(sums.y, k00, k10);
    sums.z = add4<false>(sums.z, k00, k11), sums.w = add4<false>(sums.w, k01, k10);
  }
  texture[n] = sums;
}

constexpr int kPointThreads = 128;

// The nearest candidates that a thread has seen. Newcomers wait in shared memory until some thread's room is full: then
// all threads of a warp sort theirs in together.
template <int kKeep>
struct NearestOfThread {
  static constexpr int kRoom = 24;
  struct Waiting {
    float keys[kRoom][kPointThreads];
    int ordinals[kRoom][kPointThreads];
  };

  float keys[kKeep];  // ascending; those in front that are not wanted are minus infinity, those not found yet no number
  int ordinals[kKeep];
  int waits;

  __device__ void clear(int wanted) {
#pragma unroll
    for (int k = 0; k < kKeep; ++k) {
      keys[k] = k < kKeep - wanted ? -INFINITY : __int_as_float(0x7fffffff);
      ordinals[k] = 0;
    }
    waits = 0;
  }

  // Takes a candidate, no number as key being none. Between calls of `settle` there must be no more than kRoom.
  __device__ void offer(Waiting& waiting, float key, int ordinal) {
    if (key == key && !(keys[kKeep - 1] <= key)) {
      waiting.keys[waits][threadIdx.x] = key;
      waiting.ordinals[waits][threadIdx.x] = ordinal;
      ++waits;
    }
  }

  // Sorts in what waits if some thread of the warp has no room for `more`.
  __device__ void settle(const Waiting& waiting, int more) {
    if (!__any_sync(kWholeWarp, waits + more > kRoom)) return;
    for (int w = 0; __any_sync(kWholeWarp, w < waits); ++w) {
      if (w < waits) insert(waiting.keys[w][threadIdx.x], waiting.ordinals[w][threadIdx.x]);
    }
    waits = 0;
  }

  __device__ void insert(float key, int ordinal) {
    bool above = !(keys[kKeep - 1] <= key);  // equal keys stay in the order in which they came
#pragma unroll
    for (int k = kKeep - 1; k > 0; --k) {
      const bool next = !(keys[k - 1] <= key);
      if (above) keys[k] = next ? keys[k - 1] : key, ordinals[k] = next ? ordinals[k - 1] : ordinal;
      above = next;
    }
    if (above) keys[0] = key, ordinals[0] = ordinal;
  }
};

// Writes the list of a thread, the known candidate first where there is one.
template <int kKeep>
__device__ void write_list(const NonlocalArgs<float>& a, const NonlocalQuery& query,
                           const NearestOfThread<kKeep>& nearest, const NonlocalLists<float>& out, int64_t n, int list,
                           int known, float known_key) {
  const int leads = known >= 0;
  const int64_t first = n * a.neighbors + int64_t(list) * a.s.keep;
  const auto write = [&](int rank, float key, int ordinal, bool is_self) {
    write_neighbor(a, query, place(a, query, ordinal / a.side2()), out, first + rank, key, ordinal, is_self);
  };
#pragma unroll
  for (int k = 0; k < kKeep; ++k) {
    const int rank = k - (kKeep - a.s.keep);
    if (rank >= leads) write(rank, nearest.keys[k], nearest.ordinals[k], false);
  }
  if (leads) write(0, known_key, known, a.s.self != Self::kAnchorEach);
}

// A thread a query, so that threads side by side read pixels side by side. `keys` reach kSide pixels beyond the border:
// no window that begins in the image leaves them.
template <int kKeep, int kSide, int kQuads, bool kProd, bool kBilinear>
__global__ void __launch_bounds__(kPointThreads, 4)
    points_kernel(const __grid_constant__ NonlocalArgs<float> a, const __grid_constant__ Quads keys,
                  const float4* __restrict__ texture, NonlocalLists<float> out) {
  constexpr int kAcross = kSide + kBilinear;
  using List = NearestOfThread<kKeep>;
  __shared__ typename List::Waiting waiting;
  const int64_t thread = blockIdx.x * int64_t(blockDim.x) + threadIdx.x;
  const int64_t n = thread < a.count ? thread : a.count - 1;  // all threads of a warp go on to the end
  const NonlocalQuery query(a, n);
  const int64_t q_size = int64_t(a.q_height) * a.q_width;
  int64_t pixel;
  query_tap(a, query, 0, 0, pixel);
  const float* q =
      a.queries + ((query.b * a.frames + query.t) * a.channels() + query.head * a.features) * q_size + pixel;
  float4 wanted[kQuads];
#pragma unroll
  for (int c = 0; c < kQuads; ++c) wanted[c] = quad_of_planes(q + 4 * c * q_size, q_size);
  const int windows = a.windows / a.s.lists;
  for (int list = 0; list < a.s.lists; ++list) {
    const int known = known_candidate(a, query, list, [&](int s) { return place(a, query, s); });
    const bool leads = known >= 0 && a.s.self != Self::kRemove;
    float known_key = INFINITY;
    List nearest;
    nearest.clear(a.s.keep - leads);
    for (int s = list * windows; s < (list + 1) * windows; ++s) {
      const Placed<float> p = place(a, query, s);
      const float y = candidate_y(a, p, 0), x = candidate_x(a, p, 0);
      const float above = kBilinear ? floorf(y) : rintf(y), before = kBilinear ? floorf(x) : rintf(x);
      const float fy = y - above, fx = x - before;
      unsigned valid_columns = 0;
#pragma unroll
      for (int j = 0; j < kSide; ++j) {
        const float at = candidate_x(a, p, j);
        valid_columns |= unsigned(j < p.side && at >= 0 && at <= a.k_width - 1) << j;
      }
      const int64_t first = int64_t(static_cast<int>(above)) * keys.stride + static_cast<int>(before);
      const float4* row = keys.origin(a, query, p.frame) + first;
      const float4* textures = texture + ((query.b * a.frames + p.frame) * a.s.heads + query.head) * keys.size +
                               keys.pad * (keys.stride + 1) + first;
      // Of the candidates between two rows of pixels: what the upper one gives to their distances.
      float upper[kSide];
      const float right = fx * (1 - fx), down = fy * (1 - fy);
      const float right_above = (1 - fy) * (1 - fy) * right, right_below = fy * fy * right;
      const float down_left = (1 - fx) * (1 - fx) * down, down_right = fx * fx * down, across = right * down;
#pragma unroll 1
      for (int i = 0; i < kAcross; ++i, row += keys.stride, textures += keys.stride) {
        const int candidate_row = i - kBilinear;  // whose last pixels are those of this row
        const float at = candidate_y(a, p, candidate_row);
        const bool row_is_valid = candidate_row >= 0 && candidate_row < p.side && at >= 0 && at <= a.k_height - 1;
        const unsigned valid = row_is_valid ? valid_columns : 0;
        const int ordinal = s * a.side2() + candidate_row * kSide;
        const auto offer = [&](int j, float sum) {
          float key = kProd ? -sum : sum;
          if (kBilinear && !kProd && key < 0) key = 0;  // by rounding
          if (!(key == key && (valid >> j & 1))) key = INFINITY;
          if (ordinal + j == known) {
            known_key = key;
          } else {
            nearest.offer(waiting, key, ordinal + j);
          }
        };
        float left = 0;  // distance to the pixel on the left, and its texture
        float4 left_texture{};
#pragma unroll
        for (int j = 0; j < kAcross; ++j) {
          float sum = 0;
#pragma unroll
          for (int c = 0; c < kQuads; ++c) sum = add4<kProd>(sum, wanted[c], __ldg(row + c * keys.size + j));
          if constexpr (!kBilinear) {
            offer(j, sum);
          } else {
            const float4 here = kProd ? float4{} : __ldg(textures + j);
            if (j > 0) {
              const float between = blend(left, sum, fx);
              if (i > 0) offer(j - 1, upper[j - 1] + fy * between - right_below * left_texture.x);
              upper[j - 1] = (1 - fy) * between - right_above * left_texture.x - down_left * left_texture.y -
                             down_right * here.y - across * (left_texture.z + left_texture.w);
            }
            left = sum, left_texture = here;
          }
        }
        nearest.settle(waiting, kSide);
      }
    }
    nearest.settle(waiting, List::kRoom + 1);
    if (thread < a.count) write_list(a, query, nearest, out, n, list, leads ? known : -1, known_key);
  }
}

// --- small patches, sampled at whole or half pixels from a centre between pixels, short lists

// A thread a query, as above. A row of candidates after the other: all samples of a row of their patches at a time,
// each blended once for all the candidates and columns of patches that meet in it.
template <int kKeep, int kSide, int kPatch, int kLattice, bool kProd>
__global__ void __launch_bounds__(kPointThreads, 5)
    small_patches_kernel(const __grid_constant__ NonlocalArgs<float> a, const __grid_constant__ Quads queries,
                         const __grid_constant__ Quads keys, NonlocalLists<float> out) {
  constexpr int kSamples = kSide + kLattice * (kPatch - 1), kPixels = (kSamples - 1) / kLattice + 2;
  using List = NearestOfThread<kKeep>;
  __shared__ typename List::Waiting waiting;
  const int64_t thread = blockIdx.x * int64_t(blockDim.x) + threadIdx.x;
  const int64_t n = thread < a.count ? thread : a.count - 1;  // all threads of a warp go on to the end
  const NonlocalQuery query(a, n);
  const int64_t own =
      int64_t(query.i * a.s.stride_q + a.s.first_tap) * queries.stride + query.j * a.s.stride_q + a.s.first_tap;
  const int windows = a.windows / a.s.lists;
  for (int list = 0; list < a.s.lists; ++list) {
    const int known = known_candidate(a, query, list, [&](int s) { return place(a, query, s); });
    const bool leads = known >= 0 && a.s.self != Self::kRemove;
    float known_key = INFINITY;
    List nearest;
    nearest.clear(a.s.keep - leads);
    for (int s = list * windows; s < (list + 1) * windows; ++s) {
      const Placed<float> p = place(a, query, s);
      const float x = candidate_x(a, p, 0) + a.s.first_tap, before = floorf(x), fx = x - before;
      const bool later = kLattice == 2 && fx >= .5f;  // samples at odd places lie a pixel further on
#pragma unroll 1
      for (int i = 0; i < kSide; ++i) {
        float sums[kSide] = {};
        for (int pk = 0; pk < a.s.pt && p.side > 0; ++pk) {
          const float4* wanted = queries.origin(a, query, mirror_index(query.t + pk, a.frames)) + own;
          const float4* key_frame =
              keys.origin(a, query, mirror_index(p.frame + pk, a.frames)) + static_cast<int>(before);
#pragma unroll 1
          for (int row = 0; row < kPatch; ++row) {
            const float y = candidate_y(a, p, i) + (row + a.s.first_tap), above = floorf(y), fy = y - above;
            const float4* key = key_frame + int64_t(static_cast<int>(above)) * keys.stride;
            const float4* want = wanted + row * queries.stride;
            for (int c = 0; c < a.features / 4; ++c, key += keys.size, want += queries.size) {
              float4 line[kPixels], u[kPatch];
#pragma unroll
              for (int k = 0; k < kPixels; ++k) line[k] = blend4(__ldg(key + k), __ldg(key + keys.stride + k), fy);
#pragma unroll
              for (int column = 0; column < kPatch; ++column) u[column] = __ldg(want + column);
#pragma unroll
              for (int j = 0; j < kSamples; ++j) {
                const int k = j / kLattice;
                float4 low = line[k], high = line[k + 1];
                float f = fx;
                if (j % kLattice) {
                  if (later) low = high, high = line[k + 2 < kPixels ? k + 2 : k + 1];
                  f = later ? fx - .5f : fx + .5f;
                }
                const float4 sample = blend4(low, high, f);
#pragma unroll
                for (int column = 0; column < kPatch; ++column) {
                  const int candidate = j - kLattice * column;
                  if (candidate < 0 || candidate >= kSide) continue;
                  sums[candidate] = add4<kProd>(sums[candidate], u[column], sample);
                }
              }
            }
          }
        }
#pragma unroll
        for (int j = 0; j < kSide; ++j) {
          float key = kProd ? -sums[j] : sums[j];
          if (!(key == key && is_candidate(a, p, i, j))) key = INFINITY;
          const int ordinal = s * a.side2() + i * kSide + j;
          if (ordinal == known) {
            known_key = key;
          } else {
            nearest.offer(waiting, key, ordinal);
          }
        }
        nearest.settle(waiting, kSide);
      }
    }
    nearest.settle(waiting, List::kRoom + 1);
    if (thread < a.count) write_list(a, query, nearest, out, n, list, leads ? known : -1, known_key);
  }
}

// --- patches of quads: every window's samples pass through shared memory, four channels at a time

struct QuadPlan {
  int lattice;  // samples a pixel: candidates lie 1 sample apart, taps `tap_step`
  int tap_step;
  int side;        // of the square of samples
  int warp_bytes;  // samples, the query's patch, samples' rows and columns, places
};

// One axis of a sample: the two pixels it lies between and the fraction of the second.
struct SampleAxis {
  int low, high;
  float fraction;
};

inline QuadPlan plan_quads(const NonlocalArgs<float>& a) {
  QuadPlan plan{};
  plan.lattice = a.stride1 == 1 ? 1 : (a.stride1 == .5f ? 2 : 4);
  plan.tap_step = plan.lattice * a.s.dilation;
  plan.side = a.s.ws + plan.tap_step * (a.s.ps - 1);
  const size_t bytes = (plan.side * plan.side + a.s.ps * a.s.ps) * sizeof(float4) +
                       2 * kMostSamples * sizeof(SampleAxis) + a.windows * sizeof(Placed<float>);
  plan.warp_bytes = static_cast<int>((bytes + 15) / 16 * 16);
  return plan;
}

// kPasses * 32 candidates a window at the most. kPatch = 0: any patch.
template <int kSlots, int kPasses, int kPatch, bool kProd, bool kBilinear>
__global__ void __launch_bounds__(kQuadWarps* kWarp, 5)
    quads_kernel(const __grid_constant__ NonlocalArgs<float> a, const __grid_constant__ Quads keys,
                 const __grid_constant__ QuadPlan plan, NonlocalLists<float> out) {
  extern __shared__ float4 quads_shared[];
  __shared__ Grid<kMostSamples * kMostSamples> samples;
  __shared__ Grid<kPasses * kWarp> candidates;
  samples.fill(plan.side);
  candidates.fill(a.s.ws);
  __syncthreads();
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const int64_t n = blockIdx.x * int64_t(blockDim.x / kWarp) + warp;
  if (n >= a.count) return;
  const int ps = kPatch ? kPatch : a.s.ps, side = plan.side, count = side * side;
  float4* tile = reinterpret_cast<float4*>(reinterpret_cast<char*>(quads_shared) + warp * plan.warp_bytes);
  float4* patch = tile + count;
  SampleAxis* rows = reinterpret_cast<SampleAxis*>(patch + ps * ps);
  SampleAxis* columns = rows + kMostSamples;
  Placed<float>* places = reinterpret_cast<Placed<float>*>(columns + kMostSamples);
  const NonlocalQuery query(a, n);
  place_windows(a, query, places, lane);
  const int64_t q_size = int64_t(a.q_height) * a.q_width;
  const float stride = a.stride1, shift = a.s.dilation * a.s.first_tap;
  fill_lists<kSlots>(a, query, places, out, n, lane, [&](int first, int windows, int, auto&& offer) {
    for (int s = first; s < first + windows; ++s) {
      const Placed<float> p = places[s];
      __syncwarp();
      if (lane < side) {
        const auto v = along(candidate_y(a, p, 0) + shift + lane * stride, a.k_height, kBilinear);
        const auto h = along(candidate_x(a, p, 0) + shift + lane * stride, a.k_width, kBilinear);
        rows[lane] = {v.low * keys.stride, v.high * keys.stride, v.fraction};
        columns[lane] = {h.low, h.high, h.fraction};
      }
      __syncwarp();
      float sums[kPasses] = {};
      for (int pk = 0; pk < a.s.pt && p.side > 0; ++pk) {
        const int64_t q_frame = query.b * a.frames + mirror_index(query.t + pk, a.frames);
        const float* q_plane = a.queries + (q_frame * a.channels() + query.head * a.features) * q_size;
        const float4* k_plane = keys.origin(a, query, mirror_index(p.frame + pk, a.frames));
        for (int c = 0; c < a.features / 4; ++c, q_plane += 4 * q_size, k_plane += keys.size) {
          for (int tap = lane; tap < ps * ps; tap += kWarp) {
            int64_t pixel;
            query_tap(a, query, tap / ps, tap % ps, pixel);
            patch[tap] = quad_of_planes(q_plane + pixel, q_size);
          }
#pragma unroll 3
          for (int i = lane; i < count; i += kWarp) {
            const uchar2 place = samples.at[i];
            const SampleAxis v = rows[place.x], h = columns[place.y];
            float4 value = __ldg(k_plane + v.low + h.low);
            if (kBilinear) {
              const float4 above = blend4(value, __ldg(k_plane + v.low + h.high), h.fraction);
              const float4 below =
                  blend4(__ldg(k_plane + v.high + h.low), __ldg(k_plane + v.high + h.high), h.fraction);
              value = blend4(above, below, v.fraction);
            }
            tile[i] = value;
          }
          __syncwarp();
#pragma unroll
          for (int pass = 0; pass < kPasses; ++pass) {
            if (pass * kWarp >= a.side2()) break;
            const uchar2 place = candidates.at[min(pass * kWarp + lane, a.side2() - 1)];
            const float4* from = tile + place.x * side + place.y;
            const float4* wanted = patch;
#pragma unroll
            for (int row = 0; row < ps; ++row, from += plan.tap_step * side) {
#pragma unroll
              for (int column = 0; column < ps; ++column) {
                sums[pass] = add4<kProd>(sums[pass], *wanted++, from[column * plan.tap_step]);
              }
            }
          }
          __syncwarp();
        }
      }
#pragma unroll
      for (int pass = 0; pass < kPasses; ++pass) {
        if (pass * kWarp >= a.side2()) break;
        const int place = pass * kWarp + lane;
        const uchar2 in = candidates.at[min(place, a.side2() - 1)];
        const float key = kProd ? -sums[pass] : sums[pass];
        const bool valid = key == key && is_candidate(a, p, in.x, in.y);
        offer(place < a.side2() ? s * a.side2() + place : -1, valid ? key : INFINITY);
      }
    }
  });
}

}  // namespace vnls
