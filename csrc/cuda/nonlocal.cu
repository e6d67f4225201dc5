// Non-local search: one warp a query, its lanes over candidates, the best in registers. Three ways to the distances:
//   any     every option and type: a lane samples its candidates' patches from global memory
//   strips  single pixels, channels last, candidates one pixel apart: a lane takes three candidates of a column, which
//           share their interpolated rows, and reads four channels at once
//   tiles   patches: each key plane is sampled once into shared memory; a lane takes runs of candidates of a row, whose
//           overlapping rows of pixels it holds in registers
#include "cuda/launch.h"
#include "cuda/nonlocal.cuh"
#include "cuda/nonlocal_tiles.cuh"
#include "nonlocal_args.h"

namespace {

using namespace vnls;

constexpr int kWarps = 4;

__device__ int64_t warp_query() { return blockIdx.x * int64_t(blockDim.x / kWarp) + threadIdx.x / kWarp; }

// --- any
template <typename T>
__device__ T candidate_key(const NonlocalArgs<T>& a, const NonlocalQuery& query, const Placed<T>& p, int within) {
  const int i = within / a.s.ws, j = within % a.s.ws;
  if (!is_candidate(a, p, i, j)) return T(INFINITY);
  const T y = candidate_y(a, p, i), x = candidate_x(a, p, j);
  const int64_t q_size = int64_t(a.q_height) * a.q_width, k_size = int64_t(a.k_height) * a.k_width;
  const int channels = a.channels();
  const int64_t pixel = a.s.channels_last ? channels : 1;
  const int64_t q_plane = a.s.channels_last ? 1 : q_size, k_plane = a.s.channels_last ? 1 : k_size;
  T sum = 0;
  for (int pk = 0; pk < a.s.pt; ++pk) {
    const T* q_frame = a.queries + (query.b * a.frames + mirror_index(query.t + pk, a.frames)) * channels * q_size +
                       query.head * a.features * q_plane;
    const T* k_frame = a.keys + (query.b * a.frames + mirror_index(p.frame + pk, a.frames)) * channels * k_size +
                       query.head * a.features * k_plane;
    for (int row = 0; row < a.s.ps; ++row) {
      const Along<T> v = along(y + a.s.dilation * (row + a.s.first_tap), a.k_height, a.s.bilinear);
      for (int column = 0; column < a.s.ps; ++column) {
        const Along<T> h = along(x + a.s.dilation * (column + a.s.first_tap), a.k_width, a.s.bilinear);
        int64_t at;
        if (!query_tap(a, query, row, column, at) || !(a.s.reflect || (v.seen && h.seen))) continue;
        const T* q = q_frame + at * pixel;
        const T* k00 = k_frame + (int64_t(v.low) * a.k_width + h.low) * pixel;
        const T* k01 = k_frame + (int64_t(v.low) * a.k_width + h.high) * pixel;
        const T* k10 = k_frame + (int64_t(v.high) * a.k_width + h.low) * pixel;
        const T* k11 = k_frame + (int64_t(v.high) * a.k_width + h.high) * pixel;
        for (int c = 0; c < a.features; ++c) {
          const int64_t to = c * k_plane;
          const T u = __ldg(q + c * q_plane);
          const T value = a.s.bilinear ? blend(blend(__ldg(k00 + to), __ldg(k01 + to), h.fraction),
                                               blend(__ldg(k10 + to), __ldg(k11 + to), h.fraction), v.fraction)
                                       : __ldg(k00 + to);
          sum += a.s.prod ? u * value : (u - value) * (u - value);
        }
      }
    }
  }
  const T key = a.s.prod ? -sum : sum;
  return key == key ? key : T(INFINITY);
}

template <typename T, int kSlots>
__global__ void __launch_bounds__(kWarps* kWarp)
    any_kernel(const __grid_constant__ NonlocalArgs<T> a, NonlocalLists<T> out) {
  extern __shared__ double any_shared[];
  const int64_t n = warp_query();
  if (n >= a.count) return;
  const int lane = threadIdx.x % kWarp;
  Placed<T>* places = reinterpret_cast<Placed<T>*>(any_shared) + threadIdx.x / kWarp * a.windows;
  const NonlocalQuery query(a, n);
  place_windows(a, query, places, lane);
  fill_lists<kSlots>(a, query, places, out, n, lane, [&](int first, int windows, auto&& offer) {
    const int begin = first * a.side2(), end = begin + windows * a.side2();
    for (int start = begin; start < end; start += kWarp) {
      const int ordinal = start + lane;
      const bool real = ordinal < end;
      const T key = real ? candidate_key(a, query, places[ordinal / a.side2()], ordinal % a.side2()) : T(INFINITY);
      offer(real ? ordinal : -1, key);
    }
  });
}

// --- strips
__device__ float4 blend4(float4 low, float4 high, float f) {
  return {blend(low.x, high.x, f), blend(low.y, high.y, f), blend(low.z, high.z, f), blend(low.w, high.w, f)};
}

template <bool kProd>
__device__ float add4(float sum, float4 u, float4 v) {
  if (kProd) return fmaf(u.x, v.x, fmaf(u.y, v.y, fmaf(u.z, v.z, fmaf(u.w, v.w, sum))));
  const float x = u.x - v.x, y = u.y - v.y, z = u.z - v.z, w = u.w - v.w;
  return fmaf(x, x, fmaf(y, y, fmaf(z, z, fmaf(w, w, sum))));
}

template <int kSlots, bool kProd, bool kBilinear>
__global__ void __launch_bounds__(kWarps* kWarp)
    strips_kernel(const __grid_constant__ NonlocalArgs<float> a, NonlocalLists<float> out) {
  constexpr int kRun = 3;
  extern __shared__ double strips_shared[];
  const int64_t n = warp_query();
  if (n >= a.count) return;
  const int lane = threadIdx.x % kWarp, channels = a.channels();
  Placed<float>* places = reinterpret_cast<Placed<float>*>(strips_shared) + threadIdx.x / kWarp * a.windows;
  const NonlocalQuery query(a, n);
  place_windows(a, query, places, lane);
  int64_t at;
  query_tap(a, query, 0, 0, at);
  const float* q = a.queries + ((query.b * a.frames + query.t) * int64_t(a.q_height) * a.q_width + at) * channels +
                   query.head * a.features;
  const int64_t k_size = int64_t(a.k_height) * a.k_width;
  const int strips = (a.s.ws + kRun - 1) / kRun, tasks = strips * a.s.ws;
  fill_lists<kSlots>(a, query, places, out, n, lane, [&](int first, int windows, auto&& offer) {
    for (int s = first; s < first + windows; ++s) {
      const Placed<float> p = places[s];
      const float* keys = a.keys + (query.b * a.frames + p.frame) * k_size * channels + query.head * a.features;
      for (int start = 0; start < tasks; start += kWarp) {
        const bool works = start + lane < tasks;
        const int task = works ? start + lane : 0;
        const int j = task % a.s.ws, i0 = task / a.s.ws * kRun;
        const Along<float> h = along(candidate_x(a, p, j), a.k_width, kBilinear);
        const float y = candidate_y(a, p, i0), below = kBilinear ? floorf(y) : rintf(y), fraction = y - below;
        int64_t rows[kRun + 1];
#pragma unroll
        for (int r = 0; r <= kRun; ++r) {
          rows[r] = int64_t(mirror_index(static_cast<int>(below) + r, a.k_height)) * a.k_width * channels;
        }
        const float *left = keys + h.low * int64_t(channels), *right = keys + h.high * int64_t(channels);
        float sums[kRun] = {};
        for (int c = 0; c < a.features; c += 4) {
          const float4 u = __ldg(reinterpret_cast<const float4*>(q + c));
          float4 above;
#pragma unroll
          for (int r = 0; r < kRun + kBilinear; ++r) {
            float4 value = __ldg(reinterpret_cast<const float4*>(left + rows[r] + c));
            if (kBilinear) {
              value = blend4(value, __ldg(reinterpret_cast<const float4*>(right + rows[r] + c)), h.fraction);
              if (r > 0) sums[r - 1] = add4<kProd>(sums[r - 1], u, blend4(above, value, fraction));
              above = value;
            } else {
              sums[r] = add4<kProd>(sums[r], u, value);
            }
          }
        }
#pragma unroll
        for (int r = 0; r < kRun; ++r) {
          const bool real = works && i0 + r < a.s.ws;
          const float key = kProd ? -sums[r] : sums[r];
          const bool valid = real && key == key && is_candidate(a, p, i0 + r, j);
          offer(real ? s * a.side2() + (i0 + r) * a.s.ws + j : -1, valid ? key : INFINITY);
        }
      }
    }
  });
}

template <typename T>
int places_bytes(const NonlocalArgs<T>& a) {
  return a.windows * static_cast<int>(sizeof(Placed<T>));
}

template <typename Kernel, typename T, typename... Rest>
void launch(Kernel kernel, int warp_bytes, cudaStream_t stream, const NonlocalArgs<T>& a, Rest... rest) {
  const int warps = warps_that_fit(kernel, warp_bytes, kWarps);
  kernel<<<blocks_for(a.count, warps), warps * kWarp, warps * warp_bytes, stream>>>(a, rest...);
}

bool takes_strips(const NonlocalArgs<float>& a) {
  const auto aligned = [](const float* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; };
  return a.s.channels_last && a.s.ps == 1 && a.s.pt == 1 && a.stride1 == 1 && a.features % 4 == 0 &&
         aligned(a.queries) && aligned(a.keys) && (a.s.reflect || (a.s.off_h == 0 && a.s.off_w == 0));
}

template <int kSlots>
void run_strips(const NonlocalArgs<float>& a, const NonlocalLists<float>& out, cudaStream_t stream) {
  const int bytes = places_bytes(a);
  if (a.s.prod) {
    a.s.bilinear ? launch(strips_kernel<kSlots, true, true>, bytes, stream, a, out)
                 : launch(strips_kernel<kSlots, true, false>, bytes, stream, a, out);
  } else {
    a.s.bilinear ? launch(strips_kernel<kSlots, false, true>, bytes, stream, a, out)
                 : launch(strips_kernel<kSlots, false, false>, bytes, stream, a, out);
  }
}

template <int kSlots>
void run(const NonlocalArgs<float>& a, const NonlocalLists<float>& out, cudaStream_t stream) {
  if (takes_strips(a)) return run_strips<kSlots>(a, out, stream);
  const TilePlan plan = plan_tiles(a);
  if (plan.run == 0) return launch(any_kernel<float, kSlots>, places_bytes(a), stream, a, out);
  const int bytes = places_bytes(a) + plan.floats * static_cast<int>(sizeof(float));
  with_tile_kernel<kSlots>(a, plan, [&](auto kernel) { launch(kernel, (bytes + 15) / 16 * 16, stream, a, plan, out); });
}

template <int kSlots>
void run(const NonlocalArgs<double>& a, const NonlocalLists<double>& out, cudaStream_t stream) {
  launch(any_kernel<double, kSlots>, places_bytes(a), stream, a, out);
}

void nonlocal_search_out(const Tensor& queries, const Tensor& keys, const Tensor& centres,
                         std::vector<int64_t> settings, double stride1, Tensor distances, Tensor offsets,
                         Tensor ordinals) {
  dispatch_floating(queries, "nonlocal_search", [&](auto zero) {
    using T = decltype(zero);
    const auto a = nonlocal_args<T>(queries, keys, centres, settings, stride1);
    const NonlocalLists<T> out{distances.mutable_data_ptr<T>(), offsets.mutable_data_ptr<T>(),
                               ordinals.mutable_data_ptr<int>()};
    if (a.count == 0 || a.neighbors == 0) return;
    launch_on(queries, [&](cudaStream_t stream) {
      if (a.s.keep <= kWarp)
        run<1>(a, out, stream);
      else
        run<4>(a, out, stream);
    });
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(vnlsdenoise, CUDA, m) { m.impl("nonlocal_search_out", TORCH_BOX(&nonlocal_search_out)); }
