// Arguments of the shifted non-local search, as both backends take them.
#pragma once

#include <cstdint>

#include "frames.h"

namespace vnls {

template <typename T>
struct SearchArgs {
  Frames<const T> guide;  // each [height, width]
  int height, width;
  const int* queries;  // [count, 2] (y, x)
  const int* centres;  // [count, frames, 2] (y, x)
  int64_t count;
  int own;                      // the queries' frame
  int patch, side, side_other;  // window sides in the own frame and in the others
  int neighbors;
  T* distances;  // [count, neighbors]
  int* offsets;  // [count, neighbors, 3] (dt, dy, dx)
};

}  // namespace vnls
