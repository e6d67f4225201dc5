// The hardware's approximate reciprocal and root, as __fdividef and rsqrtf take them for numbers that are neither
// denormal nor beyond 2^126; those do some steps more for such as are.
#pragma once

namespace vnls {

__device__ inline float approximate_reciprocal(float x) {
  float result;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

__device__ inline float approximate_reciprocal_root(float x) {
  float result;
  asm("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

}  // namespace vnls
