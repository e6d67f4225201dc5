// Unfold, one thread a value; fold, one thread a pixel and group of channels: a gather, no atomics.
#include "cuda/launch.h"
#include "fold.h"
#include "fold_args.h"

namespace {

using namespace vnls;

constexpr int kThreads = 256;
constexpr int kGroup = 4;  // channels of a thread

template <typename T>
__global__ void __launch_bounds__(kThreads)
    unfold_kernel(const PatchGrid grid, const T* __restrict__ video, int64_t values, T* __restrict__ patches) {
  const int64_t value = blockIdx.x * int64_t(kThreads) + threadIdx.x;
  if (value >= values) return;
  const int64_t source = value_source(grid, value);
  patches[value] = source < 0 ? T(0) : video[source];
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    fold_kernel(const PatchGrid grid, const T* __restrict__ patches, int64_t pixels, T* __restrict__ video) {
  const int64_t pixel = blockIdx.x * int64_t(kThreads) + threadIdx.x;
  if (pixel >= pixels) return;
  const int64_t area = int64_t(grid.height) * grid.width, frame = pixel / area, within = pixel - frame * area;
  const int first = blockIdx.y * kGroup, plane = grid.patch * grid.patch;
  const int here = grid.channels - first < kGroup ? grid.channels - first : kGroup;
  const T* from = patches + frame / grid.frames * grid.count * grid.patch_values() + int64_t(first) * plane;
  T* to = video + (frame * grid.channels + first) * area + within;
  T sums[kGroup];
#pragma unroll
  for (int c = 0; c < kGroup; ++c) sums[c] = c < here ? to[c * area] : T(0);
  visit_patches(grid, static_cast<int>(frame % grid.frames), static_cast<int>(within / grid.width),
                static_cast<int>(within % grid.width), [&](int64_t at) {
#pragma unroll
                  for (int c = 0; c < kGroup; ++c)
                    if (c < here) sums[c] += from[at + int64_t(c) * plane];
                });
#pragma unroll
  for (int c = 0; c < kGroup; ++c)
    if (c < here) to[c * area] = sums[c];
}

void unfold_out(const Tensor& video, const std::vector<int64_t>& fields, Tensor patches) {
  const PatchGrid grid = patch_grid(fields, video, patches);
  if (patches.numel() == 0) return;
  dispatch_floating(video, "unfold", [&](auto zero) {
    using T = decltype(zero);
    launch_on(video, [&](cudaStream_t stream) {
      unfold_kernel<T><<<blocks_for(patches.numel(), kThreads), kThreads, 0, stream>>>(
          grid, video.const_data_ptr<T>(), patches.numel(), patches.mutable_data_ptr<T>());
    });
  });
}

void fold_add_out(const Tensor& patches, const std::vector<int64_t>& fields, Tensor video) {
  const PatchGrid grid = patch_grid(fields, video, patches);
  if (patches.numel() == 0 || video.numel() == 0) return;
  const int64_t pixels = grid.batch * grid.frames * grid.height * grid.width;
  dispatch_floating(video, "fold", [&](auto zero) {
    using T = decltype(zero);
    launch_on(video, [&](cudaStream_t stream) {
      const dim3 blocks(blocks_for(pixels, kThreads), blocks_for(grid.channels, kGroup));
      fold_kernel<T>
          <<<blocks, kThreads, 0, stream>>>(grid, patches.const_data_ptr<T>(), pixels, video.mutable_data_ptr<T>());
    });
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(vnlsdenoise, CUDA, m) {
  m.impl("unfold_out", TORCH_BOX(&unfold_out));
  m.impl("fold_add_out", TORCH_BOX(&fold_add_out));
}
