// Non-local search, the best in registers. Six ways to the distances; points and small patches take a thread a query,
// the others a warp, its lanes over candidates:
//   any     every option and type: a lane samples its candidates' patches from global memory
//   points  single pixels and short lists, four channels at a time: the distances to the pixels of a window give those
//           to all points between them
//   small patches  of 3 x 3 pixels in windows of 5 x 5, short lists, four channels at a time: rows of samples that the
//           candidates of a row share
//   quads   patches, four channels at a time: the samples of a window pass through shared memory
//   tiles   patches of any number of channels: each key plane is sampled once into shared memory; a lane takes runs of
//           candidates of a row, whose overlapping rows of pixels it holds in registers
//   screen  whole pixels of one or three channels, short lists: tensor cores tell which candidates cannot be among the
//           best; the others are measured
#include "cuda/launch.h"
#include "cuda/nonlocal.cuh"
#include "cuda/nonlocal_quads.cuh"
#include "cuda/nonlocal_screen.cuh"
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
  T sum = 0;
  for (int pk = 0; pk < a.s.pt; ++pk) {
    const T* q_frame = a.queries + (query.b * a.frames + mirror_index(query.t + pk, a.frames)) * channels * q_size +
                       query.head * a.features * q_size;
    const T* k_frame = a.keys + (query.b * a.frames + mirror_index(p.frame + pk, a.frames)) * channels * k_size +
                       query.head * a.features * k_size;
    for (int row = 0; row < a.s.ps; ++row) {
      const Along<T> v = along(y + a.s.dilation * (row + a.s.first_tap), a.k_height, a.s.bilinear);
      for (int column = 0; column < a.s.ps; ++column) {
        const Along<T> h = along(x + a.s.dilation * (column + a.s.first_tap), a.k_width, a.s.bilinear);
        int64_t at;
        if (!query_tap(a, query, row, column, at) || !(a.s.reflect || (v.seen && h.seen))) continue;
        const T* q = q_frame + at;
        const T* k00 = k_frame + int64_t(v.low) * a.k_width + h.low;
        const T* k01 = k_frame + int64_t(v.low) * a.k_width + h.high;
        const T* k10 = k_frame + int64_t(v.high) * a.k_width + h.low;
        const T* k11 = k_frame + int64_t(v.high) * a.k_width + h.high;
        for (int c = 0; c < a.features; ++c) {
          const int64_t to = c * k_size;
          const T u = __ldg(q + c * q_size);
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
  fill_lists<kSlots>(a, query, places, out, n, lane, [&](int first, int windows, int, auto&& offer) {
    const int begin = first * a.side2(), end = begin + windows * a.side2();
    for (int start = begin; start < end; start += kWarp) {
      const int ordinal = start + lane;
      const bool real = ordinal < end;
      const T key = real ? candidate_key(a, query, places[ordinal / a.side2()], ordinal % a.side2()) : T(INFINITY);
      offer(real ? ordinal : -1, key);
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

constexpr int kPointsKeep = 10;  // longest list that a thread keeps in registers

bool takes_quads(const NonlocalArgs<float>& a) {
  const bool on_lattice = a.stride1 == 1 || a.stride1 == .5f || a.stride1 == .25f;
  return a.features % 4 == 0 && a.s.reflect && on_lattice && a.s.ws <= kMostWindow && a.s.ps <= kMostSamples &&
         a.s.dilation <= kMostSamples && plan_quads(a).side <= kMostSamples;
}

bool takes_points(const NonlocalArgs<float>& a) {
  return a.s.ps == 1 && a.s.pt == 1 && a.stride1 == 1 && a.s.keep > 0 && a.s.keep <= kPointsKeep &&
         (a.s.ws == 5 || a.s.ws == 7 || a.s.ws == 9) && (a.features == 8 || a.features == 16);
}

bool takes_small_patches(const NonlocalArgs<float>& a) {
  return a.s.bilinear && a.s.ps == 3 && a.s.ws == 5 && a.s.dilation == 1 && (a.stride1 == 1 || a.stride1 == .5f) &&
         a.s.keep > 0 && a.s.keep <= kPointsKeep && a.s.off_h == 0 && a.s.off_w == 0;
}

bool takes_screen(const NonlocalArgs<float>& a) {
  return !a.s.prod && !a.s.bilinear && a.stride1 == 1 && a.s.reflect && a.s.pt == 1 && a.s.dilation == 1 &&
         (a.s.ps == 5 || a.s.ps == 7) && (a.features == 1 || a.features == 3) && a.s.keep > 0 && a.s.keep <= kWarp &&
         a.s.ws > 5 && a.s.ws <= ScreenShape<7, 3, 3>::kMostSide;
}

// A video as quads; `memory` holds them.
Quads quads_of(const Tensor& video, int pad, Tensor& memory, cudaStream_t stream) {
  const int height = static_cast<int>(video.size(3)), width = static_cast<int>(video.size(4));
  const int64_t planes = video.size(0) * video.size(1) * video.size(2) / 4;
  const int64_t pixels = planes * (height + 2 * pad) * (width + 2 * pad);
  memory = torch::stable::new_empty(video, {pixels, 4});
  const auto quads = static_cast<float4*>(memory.mutable_data_ptr());
  quads_of_kernel<<<blocks_for(pixels, 128), 128, 0, stream>>>(video.const_data_ptr<float>(), pixels, height, width,
                                                               pad, quads);
  return Quads(quads, height, width, pad);
}

template <int kSide, int kQuads>
void run_points(const NonlocalArgs<float>& a, const Tensor& keys, const NonlocalLists<float>& out,
                cudaStream_t stream) {
  Tensor quads_memory, texture_memory;
  const Quads quads = quads_of(keys, kSide, quads_memory, stream);
  const auto start = [&](auto kernel, const float4* texture) {
    kernel<<<blocks_for(a.count, kPointThreads), kPointThreads, 0, stream>>>(a, quads, texture, out);
  };
  if (a.s.prod) {
    a.s.bilinear ? start(points_kernel<kPointsKeep, kSide, kQuads, true, true>, nullptr)
                 : start(points_kernel<kPointsKeep, kSide, kQuads, true, false>, nullptr);
  } else if (a.s.bilinear) {
    const int64_t pixels = keys.size(0) * a.frames * a.s.heads * quads.size;
    texture_memory = torch::stable::new_empty(keys, {pixels, 4});
    const auto texture = static_cast<float4*>(texture_memory.mutable_data_ptr());
    texture_kernel<<<blocks_for(pixels, 128), 128, 0, stream>>>(a, quads, pixels, texture);
    start(points_kernel<kPointsKeep, kSide, kQuads, false, true>, texture);
  } else {
    start(points_kernel<kPointsKeep, kSide, kQuads, false, false>, nullptr);
  }
}

template <int kSide>
void run_points(const NonlocalArgs<float>& a, const Tensor& keys, const NonlocalLists<float>& out,
                cudaStream_t stream) {
  a.features == 16 ? run_points<kSide, 4>(a, keys, out, stream) : run_points<kSide, 2>(a, keys, out, stream);
}

void run_small_patches(const NonlocalArgs<float>& a, const Tensor& queries, const Tensor& keys,
                       const NonlocalLists<float>& out, cudaStream_t stream) {
  constexpr int kSide = 5, kPatch = 3;
  Tensor queries_memory, keys_memory;
  const Quads wanted = quads_of(queries, kPatch, queries_memory, stream);
  const Quads quads = quads_of(keys, kSide + kPatch, keys_memory, stream);
  const auto start = [&](auto kernel) {
    kernel<<<blocks_for(a.count, kPointThreads), kPointThreads, 0, stream>>>(a, wanted, quads, out);
  };
  if (a.stride1 == 1) {
    a.s.prod ? start(small_patches_kernel<kPointsKeep, kSide, kPatch, 1, true>)
             : start(small_patches_kernel<kPointsKeep, kSide, kPatch, 1, false>);
  } else {
    a.s.prod ? start(small_patches_kernel<kPointsKeep, kSide, kPatch, 2, true>)
             : start(small_patches_kernel<kPointsKeep, kSide, kPatch, 2, false>);
  }
}

template <int kPatch, int kFeatures, int kTiles>
void run_screen(const NonlocalArgs<float>& a, const Tensor& queries, const Tensor& keys,
                const NonlocalLists<float>& out, cudaStream_t stream) {
  using Shape = ScreenShape<kPatch, kFeatures, kTiles>;
  Screen screen{};
  screen.height = a.k_height + 2 * kScreenPad, screen.stride = (a.k_width + 2 * kScreenPad + 3) / 4 * 4;
  const int64_t planes = keys.size(0) * keys.size(1) * a.s.heads;
  const Tensor halves = torch::stable::new_empty(keys, {planes * kFeatures * screen.plane()}, ScalarType::Half);
  const Tensor norms = torch::stable::new_empty(keys, {planes * screen.plane()});
  const Tensor range = torch::stable::new_empty(keys, {2});
  const auto limits = static_cast<int*>(range.mutable_data_ptr());
  screen.keys = static_cast<__half*>(halves.mutable_data_ptr());
  screen.norms = norms.const_data_ptr<float>();
  screen.range = limits;
  // Bytes that no finite value lies beyond.
  STD_CUDA_CHECK(cudaMemsetAsync(limits, 0x7f, sizeof(int), stream));
  STD_CUDA_CHECK(cudaMemsetAsync(limits + 1, 0x80, sizeof(int), stream));
  constexpr int kRangeBlocks = 1024, kRangeThreads = 256;
  for (const Tensor* video : {&queries, &keys}) {
    if (video == &keys && keys.const_data_ptr() == queries.const_data_ptr()) continue;
    range_kernel<<<kRangeBlocks, kRangeThreads, 0, stream>>>(video->const_data_ptr<float>(), video->numel(), limits);
  }
  screen_keys_kernel<<<blocks_for(planes * kFeatures * screen.height, 1), 128, 0, stream>>>(
      a.keys, a.k_height, a.k_width, screen, static_cast<__half*>(halves.mutable_data_ptr()));
  const int strips = (a.k_height + kNormRows - 1) / kNormRows;
  const dim3 parts(blocks_for(planes * strips, 1), blocks_for(a.k_width, 128));
  screen_norms_kernel<kPatch, kFeatures><<<parts, 128, 0, stream>>>(a, screen, norms.mutable_data_ptr<float>());
  const int windows = a.windows * static_cast<int>(sizeof(ScreenWindow)) + places_bytes(a);
  const int bytes = (Shape::kBytes + windows + 15) / 16 * 16;
  launch(screen_kernel<kPatch, kFeatures, kTiles>, bytes, stream, a, screen, out, bytes);
}

void run_screen(const NonlocalArgs<float>& a, const Tensor& queries, const Tensor& keys,
                const NonlocalLists<float>& out, cudaStream_t stream) {
  const auto by_side = [&](auto patch, auto features) {
    constexpr int kPatch = decltype(patch)::value, kFeatures = decltype(features)::value;
    if (a.s.ws <= ScreenShape<kPatch, kFeatures, 2>::kMostSide) {
      run_screen<kPatch, kFeatures, 2>(a, queries, keys, out, stream);
    } else {
      run_screen<kPatch, kFeatures, 3>(a, queries, keys, out, stream);
    }
  };
  const auto by_features = [&](auto patch) {
    a.features == 1 ? by_side(patch, std::integral_constant<int, 1>())
                    : by_side(patch, std::integral_constant<int, 3>());
  };
  a.s.ps == 5 ? by_features(std::integral_constant<int, 5>()) : by_features(std::integral_constant<int, 7>());
}

template <int kSlots, int kPasses, int kPatch>
void run_quads(const NonlocalArgs<float>& a, const Tensor& keys, const NonlocalLists<float>& out, cudaStream_t stream) {
  Tensor memory;
  const Quads quads = quads_of(keys, 0, memory, stream);
  const QuadPlan plan = plan_quads(a);
  const auto start = [&](auto kernel) { launch(kernel, plan.warp_bytes, stream, a, quads, plan, out); };
  if (a.s.prod) {
    a.s.bilinear ? start(quads_kernel<kSlots, kPasses, kPatch, true, true>)
                 : start(quads_kernel<kSlots, kPasses, kPatch, true, false>);
  } else {
    a.s.bilinear ? start(quads_kernel<kSlots, kPasses, kPatch, false, true>)
                 : start(quads_kernel<kSlots, kPasses, kPatch, false, false>);
  }
}

template <int kSlots>
void run(const NonlocalArgs<float>& a, const Tensor& queries, const Tensor& keys, const NonlocalLists<float>& out,
         cudaStream_t stream) {
  if (takes_quads(a)) {
    if (takes_points(a)) {
      if (a.s.ws == 5) return run_points<5>(a, keys, out, stream);
      return a.s.ws == 7 ? run_points<7>(a, keys, out, stream) : run_points<9>(a, keys, out, stream);
    }
    if (takes_small_patches(a)) return run_small_patches(a, queries, keys, out, stream);
    if (a.side2() > 2 * kWarp) return run_quads<kSlots, 8, 0>(a, keys, out, stream);
    return a.s.ps == 3 ? run_quads<kSlots, 2, 3>(a, keys, out, stream) : run_quads<kSlots, 2, 0>(a, keys, out, stream);
  }
  if (takes_screen(a)) return run_screen(a, queries, keys, out, stream);
  const TilePlan plan = plan_tiles(a);
  if (plan.run == 0) return launch(any_kernel<float, kSlots>, places_bytes(a), stream, a, out);
  const int bytes = places_bytes(a) + plan.floats * static_cast<int>(sizeof(float));
  with_tile_kernel<kSlots>(a, plan, [&](auto kernel) { launch(kernel, (bytes + 15) / 16 * 16, stream, a, plan, out); });
}

template <int kSlots>
void run(const NonlocalArgs<double>& a, const Tensor&, const Tensor&, const NonlocalLists<double>& out,
         cudaStream_t stream) {
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
        run<1>(a, queries, keys, out, stream);
      else
        run<4>(a, queries, keys, out, stream);
    });
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(vnlsdenoise, CUDA, m) { m.impl("nonlocal_search_out", TORCH_BOX(&nonlocal_search_out)); }
