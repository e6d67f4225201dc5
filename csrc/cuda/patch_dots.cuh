// The kernel of the patch form's dots for whole offsets and small patches, whose side the compiler knows: a few lanes
// keep a query's patch of g in registers while they go through its neighbours. Sums run in the order of visit_pairs.
#pragma once

#include "patch_form.h"

namespace vnls {

constexpr int kThreads = 256;
constexpr int kBlocks = 3;  // of a multiprocessor: bounds the registers

template <typename T, int kWidth>
struct alignas(sizeof(T) * kWidth) Pack {
  T at[kWidth];
};

template <typename T, int kWidth>
__device__ Pack<T, kWidth> load(const T* from) {
  return *reinterpret_cast<const Pack<T, kWidth>*>(from);
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
