// Sums that do not depend on their order: gradients are scattered as 64-bit integers relative to their largest term.
#pragma once

#include <torch/headeronly/macros/Macros.h>

#include <cmath>

namespace vnls {

// `scale` is a power of two, so the product is exact; what is not finite has no integer and is left out (the scale is
// then not finite either, which turns the whole sum into NaN where Python divides by it).
template <typename T>
C10_HOST_DEVICE inline long long to_fixed(T value, T scale) {
  const T scaled = value * scale;
  return fabs(scaled) < T(4e18) ? llrint(scaled) : 0;
}

}  // namespace vnls
