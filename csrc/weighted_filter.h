// A filter with a kernel for each pixel, shared by the channels, zeros outside. Behind it lies the form
//   S(x, g, w) = sum of w[i*N+j, p] * g[c, p] * x[c, p + (i, j) - r];
// gather = dS/dg, splat = dS/dx, dots = dS/dw. Compiled by both backends.
#pragma once

#include <torch/headeronly/macros/Macros.h>

#include <cstdint>

namespace vnls {

struct FilterForm {
  int64_t batch;
  int channels, height, width, side;

  C10_HOST_DEVICE int64_t area() const { return int64_t(height) * width; }
};

// Calls body(offset of the other pixel within its plane, offset of the weight within its batch item) for each tap that
// pixel (y, x) sums. Gather: weights of the pixel itself; splat: weights of the pixel that it comes from.
template <bool kSplat, typename Body>
C10_HOST_DEVICE void visit_taps(const FilterForm& form, int y, int x, Body&& body) {
  const int radius = form.side / 2;
  for (int i = 0; i < form.side; ++i) {
    const int row = kSplat ? y - i + radius : y + i - radius;
    if (row < 0 || row >= form.height) continue;
    for (int j = 0; j < form.side; ++j) {
      const int column = kSplat ? x - j + radius : x + j - radius;
      if (column < 0 || column >= form.width) continue;
      const int64_t other = int64_t(row) * form.width + column;
      const int64_t at = kSplat ? other : int64_t(y) * form.width + x;
      body(other, (int64_t(i) * form.side + j) * form.area() + at);
    }
  }
}

}  // namespace vnls
