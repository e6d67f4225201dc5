// Halving and doubling of a plane along one axis with the half-band filter (taps.h): one thread an output sample.
#include "cuda/launch.h"
#include "cuda/planes.h"
#include "taps.h"

namespace {

using namespace vnls;

template <typename T, bool kDouble>
__global__ void resample_kernel(const T* __restrict__ in, const T* __restrict__ minuend, T* __restrict__ out, Axis a,
                                int64_t total) {
  for (int64_t index = blockIdx.x * int64_t(blockDim.x) + threadIdx.x; index < total;
       index += int64_t(gridDim.x) * blockDim.x) {
    const int64_t x = index % a.inner, line = index / a.inner;
    const int64_t o = line / a.out;
    const int i = static_cast<int>(line % a.out);
    const T* from = in + o * a.n * a.inner + x;
    T sum = 0;
    if constexpr (kDouble) {
      const int last = i + kTaps / 2 - 1;
#pragma unroll
      for (int j = 0; j < kTaps / 2; ++j) {
        const bool odd = last & 1;
        const T tap = 2 * static_cast<T>(odd ? half_band_tap(2 * j + 1) : half_band_tap(2 * j));
        sum += tap * from[half_sample_mirror((last - 2 * j - odd) / 2, a.n) * a.inner];
      }
    } else {
#pragma unroll
      for (int k = 0; k < kTaps; ++k) {
        sum += static_cast<T>(half_band_tap(k)) * from[half_sample_mirror(2 * i + k - (kTaps / 2 - 1), a.n) * a.inner];
      }
    }
    out[index] = minuend == nullptr ? sum : minuend[index] - sum;
  }
}

template <typename T, bool kDouble>
void launch_resample(const T* in, const Axis& a, const T* minuend, T* out, cudaStream_t stream) {
  const int64_t total = a.outer * a.out * a.inner;
  resample_kernel<T, kDouble><<<blocks_for(total, 256), 256, 0, stream>>>(in, minuend, out, a, total);
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
