// Gradient of the non-local search: one warp a query. Where its neighbours lie is worked out once, a lane each; then
// groups of lanes run over the patch's samples, channels innermost, one group a neighbour. Videos lie channels last, so
// that a group's loads and additions are neighbours in memory. What a query's patch owes is summed over its neighbours
// in registers, in a fixed order; everything that queries share is added as integers, whose order cannot matter.
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

// A neighbour whose distance has a gradient.
template <typename T>
struct alignas(16) Neighbor {
  T y, x;
  T weight;   // that gradient
  int frame;  // -1: there is no such neighbour
};

template <typename T>
__device__ void add_fixed(unsigned long long* sum, T value, T scale) {
  const long long fixed = to_fixed(value, scale);
  if (fixed != 0) atomicAdd(sum, static_cast<unsigned long long>(fixed));
}

// Fills the neighbours of query n, a lane each.
template <typename T>
__device__ void find_neighbors(const NonlocalArgs<T>& a, const Gradients<T>& g, const Placed<T>* places, int64_t n,
                               Neighbor<T>* neighbors, int lane) {
  const int length = a.neighbors / a.s.lists;
  for (int k = lane; k < a.neighbors; k += kWarp) {
    const int64_t at = n * a.neighbors + k;
    const int ordinal = k % length < a.s.differentiable ? g.ordinals[at] : -1;
    Neighbor<T> found{0, 0, 0, -1};
    if (ordinal >= 0) {
      const int window = ordinal / a.side2(), candidate = ordinal - window * a.side2(), row = candidate / a.s.ws;
      const Placed<T>& p = places[window];
      found = {candidate_y(a, p, row), candidate_x(a, p, candidate - row * a.s.ws), g.gradient[at], p.frame};
    }
    neighbors[k] = found;
  }
  __syncwarp();
}

template <typename T, bool kBilinear, bool kSlopes>
__global__ void __launch_bounds__(kWarps* kWarp)
    gradients_kernel(const __grid_constant__ NonlocalArgs<T> a, const __grid_constant__ Gradients<T> g,
                     int warp_bytes) {
  extern __shared__ __align__(16) unsigned char gradients_shared[];
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const int64_t n = blockIdx.x * int64_t(blockDim.x / kWarp) + warp;
  if (n >= a.count) return;
  Neighbor<T>* neighbors = reinterpret_cast<Neighbor<T>*>(gradients_shared + warp * warp_bytes);
  T* slopes = reinterpret_cast<T*>(neighbors + a.neighbors);  // [neighbors, 2], only where kSlopes
  Placed<T>* places = reinterpret_cast<Placed<T>*>(slopes + (kSlopes ? 2 * a.neighbors : 0));
  const NonlocalQuery query(a, n);
  place_windows(a, query, places, lane);
  find_neighbors(a, g, places, n, neighbors, lane);
  if constexpr (kSlopes) {
    for (int i = lane; i < 2 * a.neighbors; i += kWarp) slopes[i] = 0;
    __syncwarp();
  }
  const T scale = *g.scale;
  const int channels = a.channels(), step = kWarp / g.group, samples = a.s.ps * a.s.ps * a.features;
  const int64_t q_area = int64_t(a.q_height) * a.q_width, k_area = int64_t(a.k_height) * a.k_width;
  const int64_t first_frame = query.b * a.frames;
  for (int pk = 0; pk < a.s.pt; ++pk) {
    const int64_t q_frame = (first_frame + mirror_index(query.t + pk, a.frames)) * q_area;
    for (int start = 0; start < samples; start += g.group) {
      const int sample = start + lane % g.group, tap = sample / a.features;
      const int row = tap / a.s.ps, column = tap - row * a.s.ps;
      const int down = a.s.dilation * (row + a.s.first_tap), across = a.s.dilation * (column + a.s.first_tap);
      const int c = query.head * a.features + sample - tap * a.features;
      int64_t pixel;
      const bool active = query_tap(a, query, row, column, pixel) && sample < samples;
      const int64_t at = (q_frame + pixel) * channels + c;
      const T u = active ? __ldg(a.queries + at) : T(0);
      T owed = 0;
      for (int first = 0; first < a.neighbors; first += step) {  // the same number of turns on every lane
        const int k = first + lane / g.group;
        T slope_y = 0, slope_x = 0;
        if (active && k < a.neighbors) {
          const Neighbor<T> neighbor = neighbors[k];
          const auto v = along(neighbor.y + T(down), a.k_height, kBilinear);
          const auto h = along(neighbor.x + T(across), a.k_width, kBilinear);
          if (neighbor.frame >= 0 && (a.s.reflect || (v.seen && h.seen))) {
            const int64_t k_frame = (first_frame + mirror_index(neighbor.frame + pk, a.frames)) * k_area;
            const int64_t low = k_frame + int64_t(v.low) * a.k_width, at00 = (low + h.low) * channels + c;
            const T weight = neighbor.weight, k00 = __ldg(a.keys + at00);
            if constexpr (kBilinear) {
              const int64_t high = k_frame + int64_t(v.high) * a.k_width, at01 = (low + h.high) * channels + c;
              const int64_t at10 = (high + h.low) * channels + c, at11 = (high + h.high) * channels + c;
              const T k01 = __ldg(a.keys + at01), k10 = __ldg(a.keys + at10), k11 = __ldg(a.keys + at11);
              const T top = blend(k00, k01, h.fraction), bottom = blend(k10, k11, h.fraction);
              const T value = blend(top, bottom, v.fraction);
              const T to_query = a.s.prod ? weight * value : 2 * weight * (u - value);
              const T to_key = a.s.prod ? weight * u : -to_query;
              owed += to_query;
              slope_y = to_key * (bottom - top);
              slope_x = to_key * blend(k01 - k00, k11 - k10, v.fraction);
              const T above = (1 - v.fraction) * to_key, below = v.fraction * to_key;
              add_fixed(g.key_sums + at00, (1 - h.fraction) * above, scale);
              add_fixed(g.key_sums + at01, h.fraction * above, scale);
              add_fixed(g.key_sums + at10, (1 - h.fraction) * below, scale);
              add_fixed(g.key_sums + at11, h.fraction * below, scale);
            } else {
              const T to_query = a.s.prod ? weight * k00 : 2 * weight * (u - k00);
              owed += to_query;
              add_fixed(g.key_sums + at00, a.s.prod ? weight * u : -to_query, scale);
            }
          }
        }
        if constexpr (kSlopes) {
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
  if constexpr (!kSlopes) return;
  __syncwarp();
  const int length = a.neighbors / a.s.lists;
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

template <typename T, bool kBilinear, bool kSlopes>
void launch_gradients(const Tensor& queries, const NonlocalArgs<T>& a, const Gradients<T>& g) {
  int bytes = a.windows * static_cast<int>(sizeof(Placed<T>)) + a.neighbors * static_cast<int>(sizeof(Neighbor<T>));
  if (kSlopes) bytes += 2 * a.neighbors * static_cast<int>(sizeof(T));
  bytes = (bytes + 15) / 16 * 16;
  const auto kernel = gradients_kernel<T, kBilinear, kSlopes>;
  launch_on(queries, [&](cudaStream_t stream) {
    const int warps = warps_that_fit(kernel, bytes, kWarps);
    kernel<<<blocks_for(a.count, warps), warps * kWarp, warps * bytes, stream>>>(a, g, bytes);
  });
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
    while (g.group < a.s.ps * a.s.ps * a.features && g.group < kWarp) g.group *= 2;
    if (g.centre_gradient) {
      a.s.bilinear ? launch_gradients<T, true, true>(queries, a, g) : launch_gradients<T, false, true>(queries, a, g);
    } else {
      a.s.bilinear ? launch_gradients<T, true, false>(queries, a, g) : launch_gradients<T, false, false>(queries, a, g);
    }
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(vnlsdenoise, CUDA, m) {
  m.impl("nonlocal_search_gradients_", TORCH_BOX(&nonlocal_search_gradients_));
}
