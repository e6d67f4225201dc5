// Launches on whole planes that more than one operator makes.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "pyramid.h"

namespace vnls {

// The half-band filter along an axis (pyramid.cu); or `minuend`, where there is one, less its result.
void halve(const float* in, const Axis& axis, const float* minuend, float* out, cudaStream_t stream);
void enlarge(const float* in, const Axis& axis, const float* minuend, float* out, cudaStream_t stream);

// A frame of `total` samples from its fixed-point sums (aggregate.cu).
void normalise(const float* noisy, const int64_t* sums, double sigma, float* out, int64_t total, cudaStream_t stream);

}  // namespace vnls
