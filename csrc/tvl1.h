// The mathematics of TV-L1 flow, one pixel at a time, compiled by both backends (notation: vnlsdenoise/ops/tvl1.py).
#pragma once

#ifdef __CUDACC__
#include "cuda/approximate.cuh"
#endif
#include <torch/headeronly/macros/Macros.h>

#include <cmath>
#include <cstdint>

namespace vnls {

// What the solver is told. All counts are fixed: nothing is read back to decide whether to go on.
template <typename T>
struct FlowSettings {
  T threshold;  // attachment * tightness: how far one thresholding step may move along the gradient, per unit of it
  T tightness;
  T step;                                       // time step of the dual update over tightness
  int levels, warps, coarse_warps, iterations;  // warps: of the finest level; iterations: of each warp
};

template <typename T>
FlowSettings<T> flow_settings(double attachment, double tightness, double step, int64_t levels, int64_t warps,
                              int64_t coarse_warps, int64_t iterations) {
  return {static_cast<T>(attachment * tightness),
          static_cast<T>(tightness),
          static_cast<T>(step / tightness),
          static_cast<int>(levels),
          static_cast<int>(warps),
          static_cast<int>(coarse_warps),
          static_cast<int>(iterations)};
}

constexpr int kMaxFlowLevels = 16;

// Written so that NaN becomes low: a coordinate may come from the user's pixels and goes on to index memory.
template <typename T>
C10_HOST_DEVICE inline T clamped(T value, T low, T high) {
  const T raised = value > low ? value : low;
  return raised < high ? raised : high;
}

C10_HOST_DEVICE inline int coarser(int size) { return (size + 1) / 2; }

// Elements of workspace that a pair needs: the coarser levels of both images, then `planes` planes of the finest size.
inline int64_t flow_elements(int height, int width, int levels, int planes) {
  int64_t elements = int64_t(planes) * height * width;
  for (int level = 1; level < levels; ++level) {
    height = coarser(height);
    width = coarser(width);
    elements += 2 * int64_t(height) * width;
  }
  return elements;
}

// Step of the image pyramid: binomial low pass (1 3 3 1) / 8 and every second sample, half-sample phase. It lowers the
// deviation of white noise to 0.31 a level, where the half-band filter of taps.h (which has negative lobes) leaves 0.5.
template <typename T>
C10_HOST_DEVICE inline T binomial(T a, T b, T c, T d) {
  return ((a + d) + 3 * (b + c)) / 8;
}

// Sample x of a fine level lies at (x - 1/2) / 2 of the coarser one: between low and low + 1, both clamped to the
// image.
template <typename T>
struct Between {
  int low, high;
  T fraction;

  C10_HOST_DEVICE Between(int x, int coarse_size) {
    const int left = (x + 1) / 2 - 1;
    low = left < 0 ? 0 : left;
    high = left + 1 < coarse_size ? left + 1 : coarse_size - 1;
    fraction = x & 1 ? T(.25) : T(.75);
  }
};

// Flow of a fine pixel from the coarser level: bilinear, twice as long.
template <typename T>
C10_HOST_DEVICE inline T finer_flow(const T* coarse, int width, const Between<T>& row, const Between<T>& column) {
  const T* above = coarse + static_cast<int64_t>(row.low) * width;
  const T* below = coarse + static_cast<int64_t>(row.high) * width;
  const T top = above[column.low] + column.fraction * (above[column.high] - above[column.low]);
  const T bottom = below[column.low] + column.fraction * (below[column.high] - below[column.low]);
  return 2 * (top + row.fraction * (bottom - top));
}

// Median of nine by the 19 exchanges that suffice for its middle element.
template <typename T>
C10_HOST_DEVICE inline void order(T& a, T& b) {
  const T low = b < a ? b : a;
  b = b < a ? a : b;
  a = low;
}

template <typename T>
C10_HOST_DEVICE inline T median_of_nine(T a, T b, T c, T d, T e, T f, T g, T h, T i) {
  // Sort the three columns, then the middle is the median of (largest low, middle middle, smallest high).
  order(b, c), order(a, b), order(b, c);
  order(e, f), order(d, e), order(e, f);
  order(h, i), order(g, h), order(h, i);
  order(a, d), order(d, g);               // g: largest of the lows
  order(b, e), order(e, h), order(b, e);  // e: middle of the middles
  order(f, i), order(c, f);               // c: smallest of the highs
  order(e, g), order(c, e), order(e, g);
  return e;
}

// The data term of a pixel, linear in the flow (u, v): residual(u, v) = constant + gx u + gy v; inverse is 1 / |g|^2.
template <typename T>
struct Linear {
  T constant, gx, gy, inverse;
};

// Linearised about (u, v): target and its gradient by the bicubic (Catmull-Rom) interpolant and its exact derivative.
// Where x + (u, v) lies outside the target the term fades to nothing within a pixel, and smoothness alone decides.
template <typename T>
C10_HOST_DEVICE inline Linear<T> linearised(const T* target, int height, int width, int x, int y, T source, T u, T v) {
  const T wanted_x = static_cast<T>(x) + u, wanted_y = static_cast<T>(y) + v;
  const T at_x = clamped(wanted_x, T(0), static_cast<T>(width - 1));
  const T at_y = clamped(wanted_y, T(0), static_cast<T>(height - 1));
  const T weight = clamped(1 - std::abs(wanted_x - at_x) - std::abs(wanted_y - at_y), T(0), T(1));
  const int left = static_cast<int>(at_x), top = static_cast<int>(at_y);
  const T s = at_x - static_cast<T>(left), t = at_y - static_cast<T>(top);
  const T across[4] = {((T(-.5) * s + 1) * s - T(.5)) * s, (T(1.5) * s - T(2.5)) * s * s + 1,
                       ((T(-1.5) * s + 2) * s + T(.5)) * s, (T(.5) * s - T(.5)) * s * s};
  const T across_slope[4] = {(T(-1.5) * s + 2) * s - T(.5), (T(4.5) * s - 5) * s, (T(-4.5) * s + 4) * s + T(.5),
                             (T(1.5) * s - 1) * s};
  const T down[4] = {((T(-.5) * t + 1) * t - T(.5)) * t, (T(1.5) * t - T(2.5)) * t * t + 1,
                     ((T(-1.5) * t + 2) * t + T(.5)) * t, (T(.5) * t - T(.5)) * t * t};
  const T down_slope[4] = {(T(-1.5) * t + 2) * t - T(.5), (T(4.5) * t - 5) * t, (T(-4.5) * t + 4) * t + T(.5),
                           (T(1.5) * t - 1) * t};
  T value = 0, gx = 0, gy = 0;
  for (int j = 0; j < 4; ++j) {
    const int row = clamped(top + j - 1, 0, height - 1) * width;
    T line = 0, slope = 0;
    for (int i = 0; i < 4; ++i) {
      const T sample = target[row + clamped(left + i - 1, 0, width - 1)];
      line += across[i] * sample;
      slope += across_slope[i] * sample;
    }
    value += down[j] * line;
    gx += down[j] * slope;
    gy += down_slope[j] * line;
  }
  gx *= weight;
  gy *= weight;
  return {weight * (value - source) - gx * u - gy * v, gx, gy, 1 / (gx * gx + gy * gy + T(1e-9))};
}

// How far the thresholding step goes along the gradient: towards zero residual, at most `threshold`. The three cases of
// the paper in one expression.
template <typename T>
C10_HOST_DEVICE inline T shrinkage(T constant, T gx, T gy, T inverse, T u, T v, T threshold) {
  return clamped(-(constant + gx * u + gy * v) * inverse, -threshold, threshold);
}

// 1 / (1 + step |gradient|): what the dual update divides by. The GPU's approximate root and quotient (2 ulp) do.
template <typename T>
C10_HOST_DEVICE inline T dual_scale(T along_x, T along_y, T step) {
  const T square = along_x * along_x + along_y * along_y;
#ifdef __CUDA_ARCH__
  if constexpr (sizeof(T) == sizeof(float)) {
    return approximate_reciprocal(1 + step * square * approximate_reciprocal_root(square + 1e-30f));
  }
#endif
  return 1 / (1 + step * std::sqrt(square));
}

}  // namespace vnls
