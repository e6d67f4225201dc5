// Search image, local variance, recomposition and fine-band Wiener filter: what joins a level with the coarser one; and
// the chains of these.
#include <optional>

#include "cuda/launch.h"
#include "cuda/planes.h"
#include "joining.h"
#include "recompose.h"
#include "taps.h"

namespace {

using namespace vnls;

constexpr int kSide = 32;  // outputs of a block are kSide x kSide
constexpr int kThreads = 256;

// `whole_sample_mirror`, whose division only the borders need.
__device__ int mirrored(int i, int n) { return i >= 0 && i < n ? i : whole_sample_mirror(i, n); }

// Sums over a kWindow x kWindow window of `kQuantities` values a pixel, for a block's tile of outputs, separably in
// shared memory. value(y, x, out[]) gives the values of a pixel inside the frame; borders are mirrored. Afterwards
// sums[q][y * kSide + x]; ends with a barrier.
template <typename T, int kWindow, int kQuantities, typename Value>
__device__ void window_sums(int height, int width, int top, int left, T* shared, T* sums, Value&& value) {
  constexpr int kRadius = kWindow / 2, kOuter = kSide + 2 * kRadius;
  T* pixels = shared;                                // [kQuantities, kOuter, kOuter]
  T* rows = shared + kQuantities * kOuter * kOuter;  // [kQuantities, kOuter, kSide]
  for (int i = threadIdx.x; i < kOuter * kOuter; i += kThreads) {
    const int y = mirrored(top + i / kOuter - kRadius, height);
    const int x = mirrored(left + i % kOuter - kRadius, width);
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
constexpr int window_bytes() {
  constexpr int kOuter = kSide + kWindow - 1;
  return static_cast<int>(sizeof(T)) * kQuantities * (kOuter * kOuter + kOuter * kSide + kSide * kSide);
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
    const T* row = band + int64_t(mirrored(y + dy, height)) * width;
    const T line = row[mirrored(x - 1, width)] + 2 * row[x] + row[mirrored(x + 1, width)];
    sum += dy == 0 ? 2 * line : line;
  }
  const T below = base == nullptr ? T(0) : base[int64_t(y) * width + x];
  out[int64_t(y) * width + x] = below + share * sum;
}

dim3 tiles(Planes size, unsigned planes) {
  return dim3(blocks_for(size.width, kSide), blocks_for(size.height, kSide), planes);
}

template <typename T>
void launch_local_variance(const T* video, Planes size, T* variance, cudaStream_t stream) {
  constexpr int kBytes = window_bytes<T, kVarianceWindow, 2>();
  allow_shared(local_variance_kernel<T>, kBytes);
  local_variance_kernel<T>
      <<<tiles(size, 1), kThreads, kBytes, stream>>>(video, size.count, size.height, size.width, variance);
}

template <typename T>
void launch_recompose(const T* basic, const T* low, const T* variance, Planes size, double sigma, double fade, T* out,
                      cudaStream_t stream) {
  const dim3 grid(blocks_for(size.area(), 256), static_cast<unsigned>(size.count));
  recompose_kernel<T><<<grid, 256, 0, stream>>>(basic, low, variance, size.area(), static_cast<T>(sigma * sigma),
                                                static_cast<T>(fade), out);
}

template <typename T>
void launch_fine_wiener(const T* basic, const T* coarse, const T* variance, Planes size, double sigma, int neighbors,
                        T* out, cudaStream_t stream) {
  constexpr int kBytes = window_bytes<T, kEnergyWindow, 1>();
  allow_shared(fine_wiener_kernel<T>, kBytes);
  fine_wiener_kernel<T><<<tiles(size, static_cast<unsigned>(size.count)), kThreads, kBytes, stream>>>(
      basic, coarse, variance, size.height, size.width, static_cast<T>(sigma * sigma), neighbors, out);
}

// base: null for zeros.
template <typename T>
void launch_guide(const T* base, const T* band, Planes size, double weight, T* out, cudaStream_t stream) {
  const dim3 block(32, 8);
  const dim3 grid(blocks_for(size.width, block.x), blocks_for(size.height, block.y));
  guide_kernel<T><<<grid, block, 0, stream>>>(base, band, size.height, size.width, static_cast<T>(weight / 16), out);
}

void local_variance_out(const Tensor& video, Tensor variance) {
  check_contiguous(video, "local_variance");
  if (video.numel() == 0) return;
  dispatch_floating(video, "local_variance", [&](auto zero) {
    using T = decltype(zero);
    launch_on(video, [&](cudaStream_t stream) {
      launch_local_variance(video.const_data_ptr<T>(), planes_of(video), variance.mutable_data_ptr<T>(), stream);
    });
  });
}

void recompose_out(const Tensor& basic, const Tensor& low, const Tensor& variance, double sigma, double fade,
                   Tensor out) {
  if (variance.numel() == 0) return;
  dispatch_floating(basic, "recompose", [&](auto zero) {
    using T = decltype(zero);
    launch_on(basic, [&](cudaStream_t stream) {
      launch_recompose(basic.const_data_ptr<T>(), low.const_data_ptr<T>(), variance.const_data_ptr<T>(),
                       planes_of(basic), sigma, fade, out.mutable_data_ptr<T>(), stream);
    });
  });
}

void fine_wiener_out(const Tensor& basic, const Tensor& coarse, const Tensor& variance, double sigma, int64_t neighbors,
                     Tensor out) {
  if (basic.numel() == 0) return;
  dispatch_floating(basic, "fine_wiener", [&](auto zero) {
    using T = decltype(zero);
    launch_on(basic, [&](cudaStream_t stream) {
      launch_fine_wiener(basic.const_data_ptr<T>(), coarse.const_data_ptr<T>(), variance.const_data_ptr<T>(),
                         planes_of(basic), sigma, static_cast<int>(neighbors), out.mutable_data_ptr<T>(), stream);
    });
  });
}

void guide_out(const Tensor& base, const Tensor& band, double weight, Tensor out) {
  if (base.numel() == 0) return;
  dispatch_floating(base, "guide", [&](auto zero) {
    using T = decltype(zero);
    launch_on(base, [&](cudaStream_t stream) {
      launch_guide(base.const_data_ptr<T>(), band.const_data_ptr<T>(),
                   {1, static_cast<int>(base.size(0)), static_cast<int>(base.size(1))}, weight,
                   out.mutable_data_ptr<T>(), stream);
    });
  });
}

// For the chains of joining.h.
struct Steps {
  cudaStream_t stream;

  void halve(const float* in, const Axis& axis, const float* minuend, float* out) const {
    vnls::halve(in, axis, minuend, out, stream);
  }
  void enlarge(const float* in, const Axis& axis, const float* minuend, float* out) const {
    vnls::enlarge(in, axis, minuend, out, stream);
  }
  void normalise(const float* noisy, const int64_t* sums, Planes size, double sigma, float* out) const {
    vnls::normalise(noisy, sums, sigma, out, size.size(), stream);
  }
  void guide(const float* base, const float* band, Planes size, double weight, float* out) const {
    launch_guide(base, band, size, weight, out, stream);
  }
  void local_variance(const float* video, Planes size, float* variance) const {
    launch_local_variance(video, size, variance, stream);
  }
  void recompose(const float* basic, const float* low, const float* variance, Planes size, double sigma, double fade,
                 float* out) const {
    launch_recompose(basic, low, variance, size, sigma, fade, out, stream);
  }
  void fine_wiener(const float* basic, const float* coarse, const float* variance, Planes size, double sigma,
                   int neighbors, float* out) const {
    launch_fine_wiener(basic, coarse, variance, size, sigma, neighbors, out, stream);
  }
};

void search_image_out(const Tensor& luma, std::optional<Tensor> coarse, double weight, Tensor scratch, Tensor out) {
  if (luma.numel() == 0) return;
  launch_on(luma, [&](cudaStream_t stream) { search_image_of(Steps{stream}, luma, coarse, weight, scratch, out); });
}

void joined_frame_out(const Tensor& noisy, const Tensor& sums, const Tensor& coarse, double sigma, double fade,
                      int64_t neighbors, Tensor scratch, Tensor out) {
  if (noisy.numel() == 0) return;
  launch_on(noisy, [&](cudaStream_t stream) {
    joined_frame_of(Steps{stream}, noisy, sums, coarse, sigma, fade, neighbors, scratch, out);
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(vnlsdenoise, CUDA, m) {
  m.impl("local_variance_out", TORCH_BOX(&local_variance_out));
  m.impl("recompose_out", TORCH_BOX(&recompose_out));
  m.impl("fine_wiener_out", TORCH_BOX(&fine_wiener_out));
  m.impl("guide_out", TORCH_BOX(&guide_out));
  m.impl("search_image_out", TORCH_BOX(&search_image_out));
  m.impl("joined_frame_out", TORCH_BOX(&joined_frame_out));
}
