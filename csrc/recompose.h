// Constants and pointwise formulas that join a level of the pyramid with the coarser one. Compiled by both backends.
#pragma once

#include <torch/headeronly/macros/Macros.h>

namespace vnls {

constexpr int kVarianceWindow = 17;
constexpr int kEnergyWindow = 9;

// What the fine-band filter takes for the noise left in step 1, in sigma^2 / neighbors: `kFineError` everywhere and
// `kFlatError` more where the picture is flat, that is where its variance is well under `kFlatVariance` sigma^2.
constexpr double kFineError = .03, kFlatError = .35, kFlatVariance = .005;

// Share of the coarser level's low frequencies: 1 where it is flat, towards 0 where it is textured; fade in sigma^2.
template <typename T>
C10_HOST_DEVICE inline T coarse_share(T variance, T sigma2, T fade) {
  return fade * sigma2 / (variance + fade * sigma2);
}

// Wiener gain of the band above the coarser level, given its local energy.
template <typename T>
C10_HOST_DEVICE inline T fine_gain(T energy, T variance, T sigma2, int neighbors) {
  const T flat = T(kFlatVariance) * sigma2 / (variance + T(kFlatVariance) * sigma2);
  const T error = (T(kFineError) + T(kFlatError) * flat) * sigma2 / neighbors;
  const T signal = energy - error;
  return signal > 0 ? signal / energy : T(0);
}

}  // namespace vnls
