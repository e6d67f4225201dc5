// Kernels of the patch form for whole offsets and small patches, whose side the compiler knows.
//
// gather and spread: a thread sums a strip of neighbouring pixels of one row. All that a query (a cell, for spread)
// adds to the strip lies in one row of its neighbour's patch, so each neighbour is read and placed once for the strip.
// dots: a few lanes keep a query's patch of g in registers while they go through its neighbours.
// Sums run in the order of visit_sources, visit_targets and visit_pairs.
#pragma once

#include "patch_form.h"

namespace vnls {

constexpr int kThreads = 256;
constexpr int kBlocks = 3;      // of a multiprocessor: bounds the registers
constexpr int kStrip = 4;       // pixels of a strip
constexpr int kStripSide = 16;  // pixels along each side of a block's tile of strips
constexpr int kStrips = kStripSide * kStripSide / kStrip;
constexpr int kBatch = 3;  // neighbours whose pixels a thread has on their way together

template <typename T, int kWidth>
struct alignas(sizeof(T) * kWidth) Pack {
  T at[kWidth];
};

template <typename T, int kWidth>
__device__ Pack<T, kWidth> load(const T* from) {
  return *reinterpret_cast<const Pack<T, kWidth>*>(from);
}

template <typename T, int kWidth>
__device__ void store(T* to, const Pack<T, kWidth>& pack) {
  *reinterpret_cast<Pack<T, kWidth>*>(to) = pack;
}

template <typename T, int kWidth>
__device__ void add(Pack<T, kWidth>& sum, T weight, const Pack<T, kWidth>& values) {
#pragma unroll
  for (int c = 0; c < kWidth; ++c) sum.at[c] += weight * values.at[c];
}

// A tile of images [images, height, width]; calls body(image, y, first x, group) for each strip and group of channels.
// Strips of a warp lie below each other: few warps meet the left and right borders, where spread takes longer.
template <typename Body>
__device__ void over_strips(int height, int width, int groups, Body&& body) {
  const unsigned across = (width + kStripSide - 1) / kStripSide, down = (height + kStripSide - 1) / kStripSide;
  const unsigned row = blockIdx.x / across;
  const int left = static_cast<int>(blockIdx.x % across) * kStripSide, top = static_cast<int>(row % down) * kStripSide;
  const int64_t image = row / down;
  for (int i = threadIdx.x; i < kStrips * groups; i += blockDim.x) {
    const int strip = i / groups, y = top + strip % kStripSide, x = left + strip / kStripSide * kStrip;
    if (y < height && x < width) body(image, y, x, i - strip * groups);
  }
}

// Calls body(pixel of the strip, tap of its row) for what falls on a strip of the patch that begins kPatch - 1 - place
// pixels before it. Unrolled, so that a known place leaves no test.
template <int kPatch, typename Body>
__device__ void over_taps(int place, Body&& body) {
#pragma unroll
  for (int s = 0; s < kStrip; ++s) {
    const int j = s + kPatch - 1 - place;
    if (j >= 0 && j < kPatch) body(s, j);
  }
}

// Adds n patches at one place of a strip. codes: as Located and target_of have them. row: of the patch around pixel 0,
// at its first tap. Patches that are not wholly inside are left to outside(number, code, weight).
template <int kPatch, typename T, int kWidth, typename Outside>
__device__ void add_patches(int place, const int* __restrict__ codes, const T* __restrict__ weights, int n,
                            const T* __restrict__ row, int channels, Pack<T, kWidth> (&sums)[kStrip],
                            Outside&& outside) {
  auto one = [&](int k) {
    const int code = codes[k];
    const T weight = weights[k];
    if ((code & 1) == 0) return outside(k, code, weight);
    const T* from = pixel_at(row, code >> 1, channels);
    over_taps<kPatch>(place, [&](int s, int j) { add(sums[s], weight, load<T, kWidth>(from + j * channels)); });
  };
  int k = 0;
  for (; k + kBatch <= n; k += kBatch) {
    int all = 1;
    T weight[kBatch];
    const T* from[kBatch];
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      const int code = codes[k + b];
      all &= code;
      from[b] = pixel_at(row, code >> 1, channels);
      weight[b] = weights[k + b];
    }
    if (all) {
      Pack<T, kWidth> values[kBatch][kStrip];
#pragma unroll
      for (int b = 0; b < kBatch; ++b)
        over_taps<kPatch>(place, [&](int s, int j) { values[b][s] = load<T, kWidth>(from[b] + j * channels); });
#pragma unroll
      for (int b = 0; b < kBatch; ++b)
        over_taps<kPatch>(place, [&](int s, int) { add(sums[s], weight[b], values[b][s]); });
    } else {
#pragma unroll 1
      for (int b = 0; b < kBatch; ++b) one(k + b);
    }
  }
#pragma unroll 1
  for (; k < n; ++k) one(k);
}

// For queries one pixel apart in g.
template <typename T, int kWidth, int kPatch>
__global__ void __launch_bounds__(kThreads, kBlocks)
    gather_strips_kernel(const PatchForm form, const T* __restrict__ v, const T* __restrict__ weights,
                         const int* __restrict__ codes, T* __restrict__ out) {
  over_strips(form.out_height, form.out_width, form.channels / kWidth, [&](int64_t image, int y, int x, int group) {
    const int64_t list = image / form.out_frames;
    const int to = static_cast<int>(image - list * form.out_frames);
    const T* plane = v + list / form.share * form.plane_pixels() * form.channels + group * kWidth;
    Pack<T, kWidth> sums[kStrip]{};
    for (int d = 0; d < form.depth; ++d) {
      const int t = to - d;
      if (t < 0 || t >= form.query_frames) continue;
#pragma unroll 1
      for (int i = 0; i < kPatch; ++i) {
        const int qy = y - form.tap_out(i);
        if (qy < 0 || qy >= form.rows) continue;
        const int64_t queries = ((list * form.query_frames + t) * form.rows + qy) * form.columns;
        const T* row = plane + int64_t(form.step_in(d, i, 0)) * form.channels;
#pragma unroll
        for (int place = kStrip + kPatch - 2; place >= 0; --place) {
          const int qx = x + place - form.tap_out(kPatch - 1);
          if (qx < 0 || qx >= form.columns) continue;
          const int64_t first = (queries + qx) * form.count;
          add_patches<kPatch>(place, codes + first, weights + first, form.count, row, form.channels, sums,
                              [&](int, int code, T weight) {
                                if (code < 0) return;
                                const auto anchor = anchor_of<false, T>(form, nullptr, code);
                                over_taps<kPatch>(place, [&](int s, int j) {
                                  visit_samples<false>(form, anchor, d, i, j, weight, [&](int at, T) {
                                    add(sums[s], weight, load<T, kWidth>(pixel_at(plane, at, form.channels)));
                                  });
                                });
                              });
        }
      }
    }
    T* to_row = out + ((image * form.out_height + y) * form.out_width + x) * form.channels + group * kWidth;
#pragma unroll
    for (int s = 0; s < kStrip; ++s)
      if (x + s < form.out_width) store(to_row + int64_t(s) * form.channels, sums[s]);
  });
}

// For taps one pixel apart in v.
template <typename T, int kWidth, int kPatch>
__global__ void __launch_bounds__(kThreads, kBlocks)
    spread_strips_kernel(const PatchForm form, const T* __restrict__ g, const Bins<T> bins, T* __restrict__ out) {
  over_strips(form.height, form.width, form.channels / kWidth, [&](int64_t image, int y, int x, int group) {
    const int64_t plane = image / form.frames;
    const int t = static_cast<int>(image - plane * form.frames);
    const T* from = g + plane * form.share * form.out_pixels() * form.channels + group * kWidth;
    T* to_row = out + ((image * form.height + y) * form.width + x) * form.channels + group * kWidth;
    // Where columns are mirrored onto the strip.
    if (form.reflect && (x <= form.lead_in || x + kStrip + form.tap_in(kPatch - 1) >= form.width)) {
#pragma unroll 1
      for (int s = 0; s < kStrip && x + s < form.width; ++s) {
        Pack<T, kWidth> sum{};
        visit_targets<false>(form, Located<T>{}, bins, plane, t, y, x + s, [&](int at, T weight) {
          add(sum, weight, load<T, kWidth>(pixel_at(from, at, form.channels)));
        });
        store(to_row + int64_t(s) * form.channels, sum);
      }
      return;
    }
    const int64_t* starts = bins.starts + plane * form.plane_pixels();
    Pack<T, kWidth> sums[kStrip]{};
    for (int d = 0; d < form.depth; ++d) {
      int ts[2];
      const int nt = anchors_onto(t, d, form.frames, true, ts);
      for (int a = 0; a < nt; ++a)
#pragma unroll 1
        for (int i = 0; i < kPatch; ++i) {
          int ys[2];
          const int ny = anchors_onto(y, form.tap_in(i), form.height, form.reflect, ys);
          const T* row = from + int64_t(form.step_out(d, i, 0)) * form.channels;
#pragma unroll 1
          for (int b = 0; b < ny; ++b) {
            const int64_t* cells = starts + ((b ? ys[1] : ys[0]) + (a ? ts[1] : ts[0]) * form.height) * form.width;
#pragma unroll
            for (int place = kStrip + kPatch - 2; place >= 0; --place) {
              const int cx = x + place - form.tap_in(kPatch - 1);
              if (cx < 0 || cx >= form.width) continue;
              const int64_t first = cells[cx];
              add_patches<kPatch>(
                  place, bins.targets + first, bins.weights + first, static_cast<int>(cells[cx + 1] - first), row,
                  form.channels, sums, [&](int n, int, T weight) {
                    const Query q = query_of(form, static_cast<uint32_t>(bins.entries[first + n]));
                    const int to = q.t + d, oy = q.y * form.stride_out + form.tap_out(i);
                    if (to >= form.out_frames || oy < 0 || oy >= form.out_height) return;
                    const int line = ((q.list * form.out_frames + to) * form.out_height + oy) * form.out_width;
                    over_taps<kPatch>(place, [&](int s, int j) {
                      const int ox = q.x * form.stride_out + form.tap_out(j);
                      if (ox < 0 || ox >= form.out_width) return;
                      add(sums[s], weight, load<T, kWidth>(pixel_at(from, line + ox, form.channels)));
                    });
                  });
            }
          }
        }
    }
#pragma unroll
    for (int s = 0; s < kStrip; ++s)
      if (x + s < form.width) store(to_row + int64_t(s) * form.channels, sums[s]);
  });
}

// For patches of one frame whose pixels are at most 32 packs. `lanes`, a power of two, hold one pack each; blockIdx.y
// is the list.
template <typename T, int kWidth, int kPatch>
__global__ void __launch_bounds__(kThreads, kBlocks)
    dots_of_queries_kernel(const PatchForm form, int lanes, int64_t first_list, const T* __restrict__ v,
                           const T* __restrict__ g, const int* __restrict__ offsets, T* __restrict__ of_weights) {
  const int64_t list = first_list + blockIdx.y;
  const uint32_t queries = static_cast<uint32_t>(form.query_frames * form.rows * form.columns);
  const int lane = threadIdx.x & (lanes - 1);
  const uint32_t index = blockIdx.x * (kThreads / lanes) + threadIdx.x / lanes;
  const bool exists = index < queries, works = exists && lane * kWidth < form.channels;
  uint32_t column = exists ? index : 0;
  uint32_t row = form.by_columns.split(column);
  const int t = static_cast<int>(form.by_rows.split(row));
  const Query q{0, t, static_cast<int>(row), static_cast<int>(column)};
  const T* plane = v + list / form.share * form.plane_pixels() * form.channels + lane * kWidth;
  const T* image = g + list * form.out_pixels() * form.channels + lane * kWidth;
  const int target = works ? target_of(form, q) : 0;

  auto line_of = [&](int i) {
    const int y = q.y * form.stride_out + form.tap_out(i);
    return y >= 0 && y < form.out_height && q.t < form.out_frames ? (q.t * form.out_height + y) * form.out_width : -1;
  };
  auto column_of = [&](int j) {
    const int x = q.x * form.stride_out + form.tap_out(j);
    return x < form.out_width ? x : -1;
  };
  Pack<T, kWidth> patch[kPatch][kPatch]{};
#pragma unroll
  for (int i = 0; i < kPatch; ++i)
#pragma unroll
    for (int j = 0; j < kPatch; ++j)
      if (works && line_of(i) >= 0 && column_of(j) >= 0)
        patch[i][j] = load<T, kWidth>(pixel_at(image, line_of(i) + column_of(j), form.channels));

  const int64_t first = (list * queries + index) * form.count;
  for (int begin = 0; begin < form.count; begin += lanes) {
    // Each lane locates one neighbour.
    const bool own = exists && begin + lane < form.count;
    int code = kMissing;
    if (own) {
      Anchor<T> anchor{};
      if (locate(form, offsets + 3 * (first + begin + lane), q.t, q.y, q.x, anchor))
        code = code_of<false>(form, anchor);
    }
    T result = 0;
    const int some = form.count - begin < lanes ? form.count - begin : lanes;
    for (int k = 0; k < some; ++k) {
      const int at = __shfl_sync(~0u, code, k, lanes);
      T value = 0;
      auto tap = [&](int i, int j, const T* from) {
        const auto values = load<T, kWidth>(from);
#pragma unroll
        for (int c = 0; c < kWidth; ++c) value += patch[i][j].at[c] * values.at[c];
      };
      if (at & target & 1) {
#pragma unroll
        for (int i = 0; i < kPatch; ++i) {
          const T* from = pixel_at(plane, (at >> 1) + form.step_in(0, i, 0), form.channels);
#pragma unroll
          for (int j = 0; j < kPatch; ++j) tap(i, j, from + j * form.channels);
        }
      } else if (works && at >= 0) {
        const auto anchor = anchor_of<false, T>(form, nullptr, at);
        int xs[kPatch], none;
#pragma unroll
        for (int j = 0; j < kPatch; ++j)
          if (column_of(j) < 0 ||
              !axis_sample<false>(anchor.x + form.tap_in(j), T(0), form.width, form.reflect, xs[j], none))
            xs[j] = -1;
#pragma unroll
        for (int i = 0; i < kPatch; ++i) {
          int y;
          if (line_of(i) < 0 ||
              !axis_sample<false>(anchor.y + form.tap_in(i), T(0), form.height, form.reflect, y, none))
            continue;
          const int line = (anchor.t * form.height + y) * form.width;
#pragma unroll
          for (int j = 0; j < kPatch; ++j)
            if (xs[j] >= 0) tap(i, j, pixel_at(plane, line + xs[j], form.channels));
        }
      }
      for (int step = lanes / 2; step > 0; step /= 2) value += __shfl_xor_sync(~0u, value, step);
      if (lane == k) result = value;
    }
    if (own) of_weights[first + begin + lane] = result;
  }
}

}  // namespace vnls
