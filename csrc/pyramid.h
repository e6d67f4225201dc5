// A tensor seen along one of its axes, as the halving and doubling kernels of both backends take it.
#pragma once

#include "stable.h"

namespace vnls {

struct Axis {
  int64_t outer, inner;  // tensor seen as [outer, n, inner]
  int n, out;            // samples along the axis before and after
};

inline Axis axis_of(const Tensor& video, const Tensor& out, int64_t axis) {
  Axis a{1, 1, static_cast<int>(video.size(axis)), static_cast<int>(out.size(axis))};
  for (int64_t d = 0; d < axis; ++d) a.outer *= video.size(d);
  for (int64_t d = axis + 1; d < video.dim(); ++d) a.inner *= video.size(d);
  return a;
}

}  // namespace vnls
