// A filter with a kernel for each pixel: gather, splat, and the gradient to its weights. One thread a pixel and group
// of channels, so that a weight is read once for all of them; neighbours along x share cache lines.
#include "cuda/launch.h"
#include "filter_args.h"
#include "weighted_filter.h"

namespace {

using namespace vnls;

constexpr int kThreads = 256;
constexpr int kGroup = 8;  // channels of a thread

template <typename T, bool kSplat>
__global__ void __launch_bounds__(kThreads) filter_kernel(const FilterForm form, const T* __restrict__ images,
                                                          const T* __restrict__ weights, T* __restrict__ out) {
  const int64_t index = blockIdx.x * int64_t(kThreads) + threadIdx.x, area = form.area();
  if (index >= form.batch * area) return;
  const int64_t item = index / area, pixel = index - item * area;
  const int first = blockIdx.y * kGroup, here = form.channels - first < kGroup ? form.channels - first : kGroup;
  const T* from = images + (item * form.channels + first) * area;
  const T* kernels = weights + item * form.side * form.side * area;
  T sums[kGroup] = {};
  visit_taps<kSplat>(form, static_cast<int>(pixel / form.width), static_cast<int>(pixel % form.width),
                     [&](int64_t other, int64_t at) {
                       const T weight = kernels[at];
#pragma unroll
                       for (int c = 0; c < kGroup; ++c)
                         if (c < here) sums[c] += weight * from[c * area + other];
                     });
  T* to = out + (item * form.channels + first) * area + pixel;
#pragma unroll
  for (int c = 0; c < kGroup; ++c)
    if (c < here) to[c * area] = sums[c];
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    dots_kernel(const FilterForm form, const T* __restrict__ images, const T* __restrict__ targets, int64_t values,
                T* __restrict__ of_weights) {
  const int64_t index = blockIdx.x * int64_t(kThreads) + threadIdx.x, area = form.area();
  if (index >= values) return;
  const int taps = form.side * form.side, radius = form.side / 2;
  const int64_t plane = index / area, pixel = index - plane * area, item = plane / taps;
  const int tap = static_cast<int>(plane - item * taps);
  const int y = static_cast<int>(pixel / form.width) + tap / form.side - radius;
  const int x = static_cast<int>(pixel % form.width) + tap % form.side - radius;
  T sum = 0;
  if (y >= 0 && y < form.height && x >= 0 && x < form.width) {
    const T* from = images + item * form.channels * area + int64_t(y) * form.width + x;
    const T* target = targets + item * form.channels * area + pixel;
    for (int c = 0; c < form.channels; ++c) sum += target[c * area] * from[c * area];
  }
  of_weights[index] = sum;
}

void weighted_filter_out(const Tensor& images, const Tensor& weights, int64_t side, bool splat, Tensor out) {
  const FilterForm form = filter_form(images, weights, side);
  if (images.numel() == 0) return;
  dispatch_floating(images, "weighted filter", [&](auto zero) {
    using T = decltype(zero);
    const dim3 blocks(blocks_for(form.batch * form.area(), kThreads), blocks_for(form.channels, kGroup));
    const T *from = images.const_data_ptr<T>(), *kernels = weights.const_data_ptr<T>();
    T* to = out.mutable_data_ptr<T>();
    launch_on(images, [&](cudaStream_t stream) {
      if (splat)
        filter_kernel<T, true><<<blocks, kThreads, 0, stream>>>(form, from, kernels, to);
      else
        filter_kernel<T, false><<<blocks, kThreads, 0, stream>>>(form, from, kernels, to);
    });
  });
}

void weighted_filter_dots_out(const Tensor& images, const Tensor& targets, int64_t side, Tensor of_weights) {
  const FilterForm form = filter_form(images, of_weights, side);
  if (of_weights.numel() == 0) return;
  dispatch_floating(images, "weighted filter", [&](auto zero) {
    using T = decltype(zero);
    launch_on(images, [&](cudaStream_t stream) {
      dots_kernel<T><<<blocks_for(of_weights.numel(), kThreads), kThreads, 0, stream>>>(
          form, images.const_data_ptr<T>(), targets.const_data_ptr<T>(), of_weights.numel(),
          of_weights.mutable_data_ptr<T>());
    });
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(vnlsdenoise, CUDA, m) {
  m.impl("weighted_filter_out", TORCH_BOX(&weighted_filter_out));
  m.impl("weighted_filter_dots_out", TORCH_BOX(&weighted_filter_dots_out));
}
