// What more than one operator does with whole planes.
#pragma once

#include <cstdint>

#include "pyramid.h"

namespace vnls {

// The half-band filter along an axis (pyramid.cpp); or `minuend`, where there is one, less its result.
void halve(const float* in, const Axis& axis, const float* minuend, float* out);
void enlarge(const float* in, const Axis& axis, const float* minuend, float* out);

// A frame of `total` samples from its fixed-point sums (aggregate.cpp).
void normalise(const float* noisy, const int64_t* sums, double sigma, float* out, int64_t total);

}  // namespace vnls
