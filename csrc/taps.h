// The half-band low-pass filter of the pyramid and its border rule, compiled by both backends.
#pragma once

#include <torch/headeronly/macros/Macros.h>

namespace vnls {

constexpr int kTaps = 16;

// Symmetric, orthonormal to its even shifts within 0.0012 (so halving keeps white noise white, at half its deviation in
// two dimensions), sum sqrt(2) before the division by sqrt(2) that makes its mean gain 1. Right half, centre outwards.
C10_HOST_DEVICE constexpr double half_band_tap(int k) {
  constexpr double kRight[kTaps / 2] = {.6683598, .1653405, -.1400679, -.0357491,
                                        .0645601, .0022362, -.0282031, .0106303};
  constexpr double kSqrtHalf = .70710678118654752440;
  return kSqrtHalf * (k < kTaps / 2 ? kRight[kTaps / 2 - 1 - k] : kRight[k - kTaps / 2]);
}

// Half-sample symmetric extension: -1-i -> i, n+i -> n-1-i, repeated for any distance.
C10_HOST_DEVICE inline int half_sample_mirror(int i, int n) {
  const int period = 2 * n;
  i %= period;
  if (i < 0) i += period;
  return i < n ? i : period - 1 - i;
}

// Whole-sample symmetric extension: -1 -> 1, n -> n-2, repeated for any distance; n = 1 maps everything to 0.
C10_HOST_DEVICE inline int whole_sample_mirror(int i, int n) {
  if (n == 1) return 0;
  const int period = 2 * (n - 1);
  i %= period;
  if (i < 0) i += period;
  return i < n ? i : period - i;
}

}  // namespace vnls
