// Halving and doubling of a plane along one axis with the half-band filter (taps.h): one thread an output sample, or a
// few.
#include <algorithm>

#include "cuda/launch.h"
#include "cuda/planes.h"
#include "taps.h"

namespace {

using namespace vnls;

// Sample i of the result, from the samples of its line, `step` elements apart. Only at the borders are they mirrored.
template <typename T, bool kDouble>
__device__ T resampled(const T* __restrict__ line, int64_t step, int n, int i) {
  constexpr int kReach = kDouble ? kTaps / 2 : kTaps;
  const int end = i + kTaps / 2 - 1;
  const bool odd = end & 1;
  const int first = kDouble ? (end - odd) / 2 - (kReach - 1) : 2 * i - (kTaps / 2 - 1);
  T sum = 0;
  const auto add = [&](int k, T sample) {
    const T tap = kDouble ? 2 * static_cast<T>(odd ? half_band_tap(2 * k + 1) : half_band_tap(2 * k))
                          : static_cast<T>(half_band_tap(k));
    sum += tap * sample;
  };
  const auto place = [&](int k) { return kDouble ? kReach - 1 - k : k; };  // counted from the first
  if (first >= 0 && first + kReach <= n) {
    const T* from = line + first * step;
#pragma unroll
    for (int k = 0; k < kReach; ++k) add(k, from[place(k) * step]);
  } else {
#pragma unroll
    for (int k = 0; k < kReach; ++k) add(k, line[half_sample_mirror(first + place(k), n) * step]);
  }
  return sum;
}

// Threads along x take neighbours in memory: samples of one line (kAlongX), or the same sample of neighbouring lines.
template <typename T, bool kDouble, bool kAlongX>
__global__ void __launch_bounds__(256)
    resample_kernel(const T* __restrict__ in, const T* __restrict__ minuend, T* __restrict__ out, Axis a) {
  const int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
  if (kAlongX ? x >= a.out : x >= a.inner || y >= a.out) return;
  const int64_t step = kAlongX ? 1 : a.inner;
  const int i = kAlongX ? x : y;
  const int64_t first = kAlongX ? y : blockIdx.z, stride = kAlongX ? int64_t(gridDim.y) * blockDim.y : gridDim.z;
  for (int64_t o = first; o < a.outer; o += stride) {
    const int64_t within = kAlongX ? 0 : x, index = (o * a.out + i) * step + within;
    const T sum = resampled<T, kDouble>(in + o * a.n * step + within, step, a.n, i);
    out[index] = minuend == nullptr ? sum : minuend[index] - sum;
  }
}

template <typename T, bool kDouble>
void launch_resample(const T* in, const Axis& a, const T* minuend, T* out, cudaStream_t stream) {
  constexpr int64_t kMost = 65535;  // blocks along y and z
  const dim3 block(32, 8);
  const auto at_most = [&](int64_t blocks) { return static_cast<unsigned>(std::min(blocks, kMost)); };
  if (a.inner == 1) {
    const dim3 grid(blocks_for(a.out, block.x), at_most(blocks_for(a.outer, block.y)));
    resample_kernel<T, kDouble, true><<<grid, block, 0, stream>>>(in, minuend, out, a);
  } else {
    const dim3 grid(blocks_for(a.inner, block.x), blocks_for(a.out, block.y), at_most(a.outer));
    resample_kernel<T, kDouble, false><<<grid, block, 0, stream>>>(in, minuend, out, a);
  }
}

template <bool kDouble>
void resample(const Tensor& video, int64_t axis, Tensor out, const char* name) {
  check_contiguous(video, name);
  check_contiguous(out, name);
  if (out.numel() == 0) return;
  const Axis a = axis_of(video, out, axis);
  dispatch_floating(video, name, [&](auto zero) {
    using T = decltype(zero);
    launch_on(video, [&](cudaStream_t stream) {
      launch_resample<T, kDouble>(video.const_data_ptr<T>(), a, nullptr, out.mutable_data_ptr<T>(), stream);
    });
  });
}

void halve_out(const Tensor& video, int64_t axis, Tensor out) { resample<false>(video, axis, out, "halve"); }
void double_out(const Tensor& video, int64_t axis, Tensor out) { resample<true>(video, axis, out, "double"); }

}  // namespace

namespace vnls {

void halve(const float* in, const Axis& axis, const float* minuend, float* out, cudaStream_t stream) {
  launch_resample<float, false>(in, axis, minuend, out, stream);
}

void enlarge(const float* in, const Axis& axis, const float* minuend, float* out, cudaStream_t stream) {
  launch_resample<float, true>(in, axis, minuend, out, stream);
}

}  // namespace vnls

STABLE_TORCH_LIBRARY_IMPL(vnlsdenoise, CUDA, m) {
  m.impl("halve_out", TORCH_BOX(&halve_out));
  m.impl("double_out", TORCH_BOX(&double_out));
}
