// Gradient of the non-local search: one warp a query. Groups of lanes run over the channels of a pixel, one group a
// neighbour; videos lie channels last, so that a group's loads and additions are neighbours in memory. What a query's
// patch owes is summed over its neighbours in registers, in a fixed order; everything that queries share is added as
// integers, whose order cannot matter.
#include <optional>

#include "cuda/launch.h"
#include "cuda/nonlocal.cuh"
#include "fixed.h"
#include "nonlocal_args.h"

namespace {

using namespace vnls;

constexpr int kWarps = 4;

template <typename T>
struct Gradients {
  const int* ordinals;
  const T* gradient;          // of the distances
  const T* gradient_offsets;  // null: none
  const T* scale;
  unsigned long long *query_sums, *key_sums;
  T* centre_gradient;  // null: not wanted
  int group;           // lanes a neighbour, a power of two
};

template <typename T>
__device__ void add_fixed(unsigned long long* sum, T value, T scale) {
  const long long fixed = to_fixed(value, scale);
  if (fixed != 0) atomicAdd(sum, static_cast<unsigned long long>(fixed));
}

template <typename T>
__global__ void __launch_bounds__(kWarps* kWarp)
    gradients_kernel(const __grid_constant__ NonlocalArgs<T> a, const __grid_constant__ Gradients<T> g,
                     int warp_bytes) {
  extern __shared__ double gradients_shared[];
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const int64_t n = blockIdx.x * int64_t(blockDim.x / kWarp) + warp;
  if (n >= a.count) return;
  char* mine = reinterpret_cast<char*>(gradients_shared) + warp * warp_bytes;
  Placed<T>* places = reinterpret_cast<Placed<T>*>(mine);
  T* slopes = reinterpret_cast<T*>(places + a.windows);  // [neighbors, 2], only where the centres want a gradient
  const NonlocalQuery query(a, n);
  place_windows(a, query, places, lane);
  const bool slopes_wanted = g.centre_gradient != nullptr;
  if (slopes_wanted) {
    for (int i = lane; i < 2 * a.neighbors; i += kWarp) slopes[i] = 0;
    __syncwarp();
  }
  const T scale = *g.scale;
  const int channels = a.channels(), length = a.neighbors / a.s.lists, step = kWarp / g.group;
  for (int pk = 0; pk < a.s.pt; ++pk) {
    const int64_t q_frame =
        (query.b * a.frames + mirror_index(query.t + pk, a.frames)) * int64_t(a.q_height) * a.q_width;
    for (int tap = 0; tap < a.s.ps * a.s.ps; ++tap) {
      const int row = tap / a.s.ps, column = tap % a.s.ps;
      int64_t pixel;
      if (!query_tap(a, query, row, column, pixel)) continue;
      for (int start = 0; start < a.features; start += g.group) {
        const int within = start + lane % g.group;
        const bool active = within < a.features;
        const int c = query.head * a.features + (active ? within : 0);
        const int64_t at = (q_frame + pixel) * channels + c;
        const T u = __ldg(a.queries + at);
        T owed = 0;
        for (int first = 0; first < a.neighbors; first += step) {  // the same number of turns on every lane
          const int k = first + lane / g.group;
          const int ordinal =
              k < a.neighbors && k % length < a.s.differentiable ? __ldg(g.ordinals + n * a.neighbors + k) : -1;
          T slope_y = 0, slope_x = 0;
          if (ordinal >= 0 && active) {
            const Placed<T>& p = places[ordinal / a.side2()];
            const int candidate = ordinal % a.side2();
            const auto v = along(candidate_y(a, p, candidate / a.s.ws) + a.s.dilation * (row + a.s.first_tap),
                                 a.k_height, a.s.bilinear);
            const auto h = along(candidate_x(a, p, candidate % a.s.ws) + a.s.dilation * (column + a.s.first_tap),
                                 a.k_width, a.s.bilinear);
            if (a.s.reflect || (v.seen && h.seen)) {
              const int64_t k_frame =
                  (query.b * a.frames + mirror_index(p.frame + pk, a.frames)) * int64_t(a.k_height) * a.k_width;
              const int64_t low = k_frame + int64_t(v.low) * a.k_width, high = k_frame + int64_t(v.high) * a.k_width;
              const int64_t at00 = (low + h.low) * channels + c, at01 = (low + h.high) * channels + c;
              const int64_t at10 = (high + h.low) * channels + c, at11 = (high + h.high) * channels + c;
              const T weight = __ldg(g.gradient + n * a.neighbors + k);
              const T k00 = __ldg(a.keys + at00);
              T k01 = k00, k10 = k00, k11 = k00;
              if (a.s.bilinear) k01 = __ldg(a.keys + at01), k10 = __ldg(a.keys + at10), k11 = __ldg(a.keys + at11);
              const T top = blend(k00, k01, h.fraction), bottom = blend(k10, k11, h.fraction);
              const T value = blend(top, bottom, v.fraction);
              const T to_query = a.s.prod ? weight * value : 2 * weight * (u - value);
              const T to_key = a.s.prod ? weight * u : -to_query;
              owed += to_query;
              if (a.s.bilinear) {
                slope_y = to_key * (bottom - top);
                slope_x = to_key * blend(k01 - k00, k11 - k10, v.fraction);
                const T above = (1 - v.fraction) * to_key, below = v.fraction * to_key;
                add_fixed(g.key_sums + at00, (1 - h.fraction) * above, scale);
                add_fixed(g.key_sums + at01, h.fraction * above, scale);
                add_fixed(g.key_sums + at10, (1 - h.fraction) * below, scale);
                add_fixed(g.key_sums + at11, h.fraction * below, scale);
              } else {
                add_fixed(g.key_sums + at00, to_key, scale);
              }
            }
          }
          if (slopes_wanted) {
            for (int mask = g.group / 2; mask > 0; mask >>= 1) {
              slope_y += __shfl_xor_sync(kWholeWarp, slope_y, mask);
              slope_x += __shfl_xor_sync(kWholeWarp, slope_x, mask);
            }
            if (lane % g.group == 0 && k < a.neighbors) {  // no other lane ever touches neighbour k
              slopes[2 * k] += slope_y;
              slopes[2 * k + 1] += slope_x;
            }
          }
        }
        for (int mask = g.group; mask < kWarp; mask <<= 1) owed += __shfl_xor_sync(kWholeWarp, owed, mask);
        if (active && lane < g.group) add_fixed(g.query_sums + at, owed, scale);
      }
    }
  }
  if (!slopes_wanted) return;
  __syncwarp();
  for (int s = lane; s < a.windows; s += kWarp) {
    T y = 0, x = 0;
    for (int k = 0; k < a.neighbors; ++k) {
      const int64_t at = n * a.neighbors + k;
      const int ordinal = g.ordinals[at];
      if (ordinal < 0 || ordinal / a.side2() != s || k % length >= a.s.differentiable) continue;
      y += slopes[2 * k], x += slopes[2 * k + 1];
      if (g.gradient_offsets) y += g.gradient_offsets[3 * at + 1], x += g.gradient_offsets[3 * at + 2];
    }
    T* to = g.centre_gradient + (n * a.windows + s) * 3;
    to[0] = 0, to[1] = places[s].slope_y * y, to[2] = places[s].slope_x * x;
  }
}

void nonlocal_search_gradients_(const Tensor& queries, const Tensor& keys, const Tensor& centres,
                                const Tensor& ordinals, const Tensor& gradient, std::optional<Tensor> gradient_offsets,
                                const Tensor& scale, std::vector<int64_t> settings, double stride1, Tensor query_sums,
                                Tensor key_sums, std::optional<Tensor> centre_gradient) {
  dispatch_floating(queries, "nonlocal_search", [&](auto zero) {
    using T = decltype(zero);
    const auto a = nonlocal_args<T>(queries, keys, centres, settings, stride1);
    STD_TORCH_CHECK(a.s.channels_last, "nonlocal_search: gradients expect channels last");
    if (a.count == 0) return;
    Gradients<T> g{ordinals.const_data_ptr<int>(),
                   gradient.const_data_ptr<T>(),
                   gradient_offsets ? gradient_offsets->const_data_ptr<T>() : nullptr,
                   scale.const_data_ptr<T>(),
                   reinterpret_cast<unsigned long long*>(query_sums.mutable_data_ptr<int64_t>()),
                   reinterpret_cast<unsigned long long*>(key_sums.mutable_data_ptr<int64_t>()),
                   centre_gradient ? centre_gradient->mutable_data_ptr<T>() : nullptr,
                   1};
    while (g.group < a.features && g.group < kWarp) g.group *= 2;
    int bytes = a.windows * static_cast<int>(sizeof(Placed<T>));
    if (g.centre_gradient) bytes += 2 * a.neighbors * static_cast<int>(sizeof(T));
    bytes = (bytes + 15) / 16 * 16;
    launch_on(queries, [&](cudaStream_t stream) {
      const int warps = warps_that_fit(gradients_kernel<T>, bytes, kWarps);
      gradients_kernel<T><<<blocks_for(a.count, warps), warps * kWarp, warps * bytes, stream>>>(a, g, bytes);
    });
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(vnlsdenoise, CUDA, m) {
  m.impl("nonlocal_search_gradients_", TORCH_BOX(&nonlocal_search_gradients_));
}
