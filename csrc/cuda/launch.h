// What CUDA operators do around a launch: select the device, find torch's stream, size the blocks, check the launch.
#pragma once

#include <cuda_runtime.h>
#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/macros.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <utility>

#include "stable.h"

namespace vnls {

// Makes the tensor's device current and runs body(stream) on torch's current stream; the launch is checked after it.
template <typename Body>
void launch_on(const Tensor& tensor, Body&& body) {
  const auto device = tensor.get_device_index();
  torch::stable::accelerator::DeviceGuard guard(device);
  void* stream = nullptr;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(device, &stream));
  body(static_cast<cudaStream_t>(stream));
  STD_CUDA_KERNEL_LAUNCH_CHECK();
}

inline unsigned blocks_for(int64_t work, int64_t per_block) {
  return static_cast<unsigned>((work + per_block - 1) / per_block);
}

// Lets a kernel's launches on the current device have so much dynamic shared memory. What it may have only grows:
// were it set to less by one thread, a launch that another has just asked more for would be refused.
template <typename Kernel>
void allow_shared(Kernel kernel, int bytes) {
  static std::mutex mutex;
  static std::map<std::pair<const void*, int>, int> allowed;  // by kernel and device
  int device = 0;
  STD_CUDA_CHECK(cudaGetDevice(&device));
  const std::lock_guard<std::mutex> lock(mutex);
  int& most = allowed[{reinterpret_cast<const void*>(kernel), device}];
  if (bytes <= most) return;
  STD_CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
  most = bytes;
}

// As many warps a block as a multiprocessor has shared memory for in two blocks, and a block may have on the current
// device (99 KiB on some), else one and what it asks for.
template <typename Kernel>
int warps_that_fit(Kernel kernel, int warp_bytes, int warps) {
  constexpr int kMost = 110 << 10, kDeclared = 2 << 10;  // the latter is for what kernels declare themselves
  int device = 0, allowed = 0;
  STD_CUDA_CHECK(cudaGetDevice(&device));
  STD_CUDA_CHECK(cudaDeviceGetAttribute(&allowed, cudaDevAttrMaxSharedMemoryPerBlockOptin, device));
  const int most = std::min(kMost, allowed - kDeclared);
  while (warps > 1 && warps * warp_bytes > most) warps /= 2;
  allow_shared(kernel, warps * warp_bytes);
  return warps;
}

}  // namespace vnls
