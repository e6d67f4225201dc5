// Search image, local variance, recomposition and fine-band Wiener filter: what joins a level with the coarser one.
#include "cuda/launch.h"
#include "recompose.h"
#include "taps.h"

namespace {

using namespace vnls;

constexpr int kSide = 32;  // outputs of a block are kSide x kSide
constexpr int kThreads = 256;

// Sums over a kWindow x kWindow window of `kQuantities` values a pixel, for a block's tile of outputs, separably in
// shared memory. value(y, x, out[]) gives the values of a pixel inside the frame; borders are mirrored. Afterwards
// sums[q][y * kSide + x]; ends with a barrier.
template <typename T, int kWindow, int kQuantities, typename Value>
__device__ void window_sums(int height, int width, int top, int left, T* shared, T* sums, Value&& value) {
  constexpr int kRadius = kWindow / 2, kOuter = kSide + 2 * kRadius;
  T* pixels = shared;                                // [kQuantities, kOuter, kOuter]
  T* rows = shared + kQuantities * kOuter * kOuter;  // [kQuantities, kOuter, kSide]
  for (int i = threadIdx.x; i < kOuter * kOuter; i += kThreads) {
    const int y = whole_sample_mirror(top + i / kOuter - kRadius, height);
    const int x = whole_sample_mirror(left + i % kOuter - kRadius, width);
    T out[kQuantities];
    value(y, x, out);
#pragma unroll
    for (int q = 0; q < kQuantities; ++q) pixels[q * kOuter * kOuter + i] = out[q];
  }
  __syncthreads();
  for (int i = threadIdx.x; i < kQuantities * kOuter * kSide; i += kThreads) {
    const T* from = pixels + i / kSide * kOuter + i % kSide;
    T sum = 0;
#pragma unroll
    for (int k = 0; k < kWindow; ++k) sum += from[k];
    rows[i] = sum;
  }
  __syncthreads();
  for (int i = threadIdx.x; i < kQuantities * kSide * kSide; i += kThreads) {
    const int q = i / (kSide * kSide), within = i % (kSide * kSide);
    const T* from = rows + q * kOuter * kSide + within;
    T sum = 0;
#pragma unroll
    for (int k = 0; k < kWindow; ++k) sum += from[k * kSide];
    sums[i] = sum;
  }
  __syncthreads();
}

template <typename T, int kWindow, int kQuantities>
constexpr size_t window_bytes() {
  constexpr int kOuter = kSide + kWindow - 1;
  return sizeof(T) * kQuantities * (kOuter * kOuter + kOuter * kSide + kSide * kSide);
}

extern __shared__ __align__(16) unsigned char memory[];

template <typename T>
__global__ void __launch_bounds__(kThreads)
    local_variance_kernel(const T* __restrict__ video, int channels, int height, int width, T* __restrict__ variance) {
  T* shared = reinterpret_cast<T*>(memory);
  constexpr int kOuter = kSide + kVarianceWindow - 1;
  T* sums = shared + 2 * (kOuter * kOuter + kOuter * kSide);
  const int top = blockIdx.y * kSide, left = blockIdx.x * kSide;
  const int64_t area = int64_t(height) * width;
  constexpr int kEach = kSide * kSide / kThreads;
  T total[kEach] = {};
  constexpr T kScale = T(1) / (kVarianceWindow * kVarianceWindow);
  for (int c = 0; c < channels; ++c) {
    const T* plane = video + c * area;
    // Counted from a value of the tile itself, so that float32 holds the variance of a bright flat area.
    const T origin = plane[int64_t(top) * width + left];
    window_sums<T, kVarianceWindow, 2>(height, width, top, left, shared, sums, [&](int y, int x, T* out) {
      const T v = plane[int64_t(y) * width + x] - origin;
      out[0] = v;
      out[1] = v * v;
    });
#pragma unroll
    for (int e = 0; e < kEach; ++e) {
      const int i = threadIdx.x + e * kThreads;
      const T mean = sums[i] * kScale, v = sums[kSide * kSide + i] * kScale - mean * mean;
      total[e] += v > 0 ? v : T(0);
    }
  }
#pragma unroll
  for (int e = 0; e < kEach; ++e) {
    const int i = threadIdx.x + e * kThreads, y = top + i / kSide, x = left + i % kSide;
    if (y < height && x < width) variance[int64_t(y) * width + x] = total[e] / channels;
  }
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    fine_wiener_kernel(const T* __restrict__ basic, const T* __restrict__ coarse, const T* __restrict__ variance,
                       int height, int width, T sigma2, int neighbors, T* __restrict__ out) {
  T* shared = reinterpret_cast<T*>(memory);
  constexpr int kOuter = kSide + kEnergyWindow - 1;
  T* sums = shared + kOuter * kOuter + kOuter * kSide;
  const int top = blockIdx.y * kSide, left = blockIdx.x * kSide;
  const int64_t plane = blockIdx.z * int64_t(height) * width;
  window_sums<T, kEnergyWindow, 1>(height, width, top, left, shared, sums, [&](int y, int x, T* value) {
    const int64_t at = plane + int64_t(y) * width + x;
    const T band = basic[at] - coarse[at];
    value[0] = band * band;
  });
  for (int i = threadIdx.x; i < kSide * kSide; i += kThreads) {
    const int y = top + i / kSide, x = left + i % kSide;
    if (y >= height || x >= width) continue;
    const int64_t pixel = int64_t(y) * width + x, at = plane + pixel;
    const T energy = sums[i] / (kEnergyWindow * kEnergyWindow);
    out[at] = coarse[at] + (basic[at] - coarse[at]) * fine_gain(energy, variance[pixel], sigma2, neighbors);
  }
}

template <typename T>
__global__ void recompose_kernel(const T* __restrict__ basic, const T* __restrict__ low, const T* __restrict__ variance,
                                 int64_t area, T sigma2, T fade, T* __restrict__ out) {
  const int64_t pixel = blockIdx.x * int64_t(blockDim.x) + threadIdx.x;
  if (pixel >= area) return;
  const int64_t at = blockIdx.y * area + pixel;
  out[at] = basic[at] + coarse_share(variance[pixel], sigma2, fade) * low[at];
}

template <typename T>
__global__ void guide_kernel(const T* __restrict__ base, const T* __restrict__ band, int height, int width, T share,
                             T* __restrict__ out) {
  const int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
  if (y >= height || x >= width) return;
  T sum = 0;
#pragma unroll
  for (int dy = -1; dy <= 1; ++dy) {
    const T* row = band + int64_t(whole_sample_mirror(y + dy, height)) * width;
    const T line = row[whole_sample_mirror(x - 1, width)] + 2 * row[x] + row[whole_sample_mirror(x + 1, width)];
    sum += dy == 0 ? 2 * line : line;
  }
  out[int64_t(y) * width + x] = base[int64_t(y) * width + x] + share * sum;
}

dim3 tiles(const Tensor& video, unsigned planes) {
  return dim3(blocks_for(video.size(2), kSide), blocks_for(video.size(1), kSide), planes);
}

void local_variance_out(const Tensor& video, Tensor variance) {
  check_contiguous(video, "local_variance");
  if (video.numel() == 0) return;
  dispatch_floating(video, "local_variance", [&](auto zero) {
    using T = decltype(zero);
    constexpr size_t kBytes = window_bytes<T, kVarianceWindow, 2>();
    launch_on(video, [&](cudaStream_t stream) {
      STD_CUDA_CHECK(
          cudaFuncSetAttribute(local_variance_kernel<T>, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes));
      local_variance_kernel<T><<<tiles(video, 1), kThreads, kBytes, stream>>>(
          video.const_data_ptr<T>(), static_cast<int>(video.size(0)), static_cast<int>(video.size(1)),
          static_cast<int>(video.size(2)), variance.mutable_data_ptr<T>());
    });
  });
}

void recompose_out(const Tensor& basic, const Tensor& low, const Tensor& variance, double sigma, double fade,
                   Tensor out) {
  const int64_t area = variance.numel();
  if (area == 0) return;
  dispatch_floating(basic, "recompose", [&](auto zero) {
    using T = decltype(zero);
    launch_on(basic, [&](cudaStream_t stream) {
      recompose_kernel<T><<<dim3(blocks_for(area, 256), static_cast<unsigned>(basic.size(0))), 256, 0, stream>>>(
          basic.const_data_ptr<T>(), low.const_data_ptr<T>(), variance.const_data_ptr<T>(), area,
          static_cast<T>(sigma * sigma), static_cast<T>(fade), out.mutable_data_ptr<T>());
    });
  });
}

void fine_wiener_out(const Tensor& basic, const Tensor& coarse, const Tensor& variance, double sigma, int64_t neighbors,
                     Tensor out) {
  if (basic.numel() == 0) return;
  dispatch_floating(basic, "fine_wiener", [&](auto zero) {
    using T = decltype(zero);
    constexpr size_t kBytes = window_bytes<T, kEnergyWindow, 1>();
    launch_on(basic, [&](cudaStream_t stream) {
      STD_CUDA_CHECK(cudaFuncSetAttribute(fine_wiener_kernel<T>, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes));
      fine_wiener_kernel<T><<<tiles(basic, static_cast<unsigned>(basic.size(0))), kThreads, kBytes, stream>>>(
          basic.const_data_ptr<T>(), coarse.const_data_ptr<T>(), variance.const_data_ptr<T>(),
          static_cast<int>(basic.size(1)), static_cast<int>(basic.size(2)), static_cast<T>(sigma * sigma),
          static_cast<int>(neighbors), out.mutable_data_ptr<T>());
    });
  });
}

void guide_out(const Tensor& base, const Tensor& band, double weight, Tensor out) {
  if (base.numel() == 0) return;
  const dim3 block(32, 8);
  const dim3 grid(blocks_for(base.size(1), block.x), blocks_for(base.size(0), block.y));
  dispatch_floating(base, "guide", [&](auto zero) {
    using T = decltype(zero);
    launch_on(base, [&](cudaStream_t stream) {
      guide_kernel<T><<<grid, block, 0, stream>>>(base.const_data_ptr<T>(), band.const_data_ptr<T>(),
                                                  static_cast<int>(base.size(0)), static_cast<int>(base.size(1)),
                                                  static_cast<T>(weight / 16), out.mutable_data_ptr<T>());
    });
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(vnlsdenoise, CUDA, m) {
  m.impl("local_variance_out", TORCH_BOX(&local_variance_out));
  m.impl("recompose_out", TORCH_BOX(&recompose_out));
  m.impl("fine_wiener_out", TORCH_BOX(&fine_wiener_out));
  m.impl("guide_out", TORCH_BOX(&guide_out));
}
