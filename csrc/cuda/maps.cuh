// Maps of the learned denoiser as its kernels take them: [N, C, H, W], channels last.
#pragma once

#include <cuda_bf16.h>

#include "cuda/launch.h"

namespace vnls {

constexpr int kBytes = 16;  // of a vector

// x / (1 + exp(-2u)) is x (1 + tanh u) / 2 without the cancellation where tanh u is near -1.
__device__ inline float gelu(float x) {
  const float u = 0.7978845608f * (x + 0.044715f * x * x * x);
  return __fdividef(x, 1 + __expf(-2 * u));
}

__device__ inline float widened(float v) { return v; }
__device__ inline float widened(__nv_bfloat16 v) { return __bfloat162float(v); }
__device__ inline void narrow(float v, float& out) { out = v; }
__device__ inline void narrow(float v, __nv_bfloat16& out) { out = __float2bfloat16_rn(v); }

template <typename T, int V>
struct alignas(sizeof(T) * V) Vector {
  T values[V];
};

// Maps whose channels are neighbours in memory, and whose pixels may be anywhere: a part of others, perhaps.
struct Placed {
  const void* data;
  int64_t batch, row, pixel;
};

// [N, C, H, W] that are all of their memory, channels last.
inline void check_maps(const Tensor& maps, const char* name) {
  STD_TORCH_CHECK(maps.dim() == 4, name, ": expected maps [N, C, H, W]");
  const int64_t c = maps.size(1), h = maps.size(2), w = maps.size(3);
  const auto is = [&](int d, int64_t stride) { return maps.size(d) == 1 || maps.stride(d) == stride; };
  STD_TORCH_CHECK(is(1, 1) && is(3, c) && is(2, c * w) && is(0, c * w * h), name, ": expected channels last");
}

inline bool aligned(const void* data, int64_t bytes) { return reinterpret_cast<uintptr_t>(data) % bytes == 0; }

inline Placed placed(const Tensor& maps, const Tensor& like, const char* name) {
  STD_TORCH_CHECK(maps.dim() == 4 && maps.scalar_type() == like.scalar_type() && maps.size(0) == like.size(0), name,
                  ": expected maps [N, C, H, W] like the result");
  STD_TORCH_CHECK(maps.size(1) == 1 || maps.stride(1) == 1, name, ": expected channels last");
  return {maps.const_data_ptr(), maps.stride(0), maps.stride(2), maps.stride(3)};
}

template <typename Body>
void dispatch_maps(const Tensor& tensor, const char* name, Body&& body) {
  switch (tensor.scalar_type()) {
    case ScalarType::BFloat16:
      return body(__nv_bfloat16{});
    case ScalarType::Float:
      return body(float{});
    default:
      STD_TORCH_CHECK(false, name, ": expected bfloat16 or float32");
  }
}

}  // namespace vnls
