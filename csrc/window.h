// Where a query searches: the chained centre, the placed window, the order of candidates. Compiled by both backends.
#pragma once

#include <torch/headeronly/macros/Macros.h>

#include <cmath>

namespace vnls {

struct Point {
  int y, x;
};

struct Window {
  int y, x;           // top left candidate
  int height, width;  // candidates down and across
};

C10_HOST_DEVICE inline int clamp(int value, int low, int high) {
  return value < low ? low : (value > high ? high : value);
}

// One hop along a flow field [2, height/scale, width/scale]: nearest sample, displacement in pixels of the field times
// scale, rounded half to even, kept inside the frame.
template <typename T>
C10_HOST_DEVICE inline Point hop(const T* flow, int flow_height, int flow_width, int scale, Point p, int height,
                                 int width) {
  const long long at =
      (long long)(clamp(p.y / scale, 0, flow_height - 1)) * flow_width + clamp(p.x / scale, 0, flow_width - 1);
  const long long plane = (long long)(flow_height)*flow_width;
  const T y = p.y + flow[plane + at] * scale, x = p.x + flow[at] * scale;
  // Compared as floating point first, so that NaN and far positions clamp instead of overflowing an int.
  const int yi = y > T(0) ? (y < T(height - 1) ? (int)rint(y) : height - 1) : 0;
  const int xi = x > T(0) ? (x < T(width - 1) ? (int)rint(x) : width - 1) : 0;
  return {yi, xi};
}

// A window of side x side top-left corners of patches around `centre`, moved inward at the borders, cut only where the
// frame has fewer positions than the window.
C10_HOST_DEVICE inline Window place_window(Point centre, int side, int patch, int height, int width) {
  const int radius = side / 2, last_y = height - patch, last_x = width - patch;
  const int most_y = last_y - 2 * radius, most_x = last_x - 2 * radius;
  const int y = clamp(centre.y - radius, 0, most_y > 0 ? most_y : 0);
  const int x = clamp(centre.x - radius, 0, most_x > 0 ? most_x : 0);
  const int y_end = y + 2 * radius < last_y ? y + 2 * radius : last_y;
  const int x_end = x + 2 * radius < last_x ? x + 2 * radius : last_x;
  return {y, x, y_end - y + 1, x_end - x + 1};
}

// A query (y, x) kept where its patch lies inside the frame: kernels never read elsewhere, whatever they are given.
C10_HOST_DEVICE inline Point clamp_query(const int* query, int patch, int height, int width) {
  return {clamp(query[0], 0, height - patch), clamp(query[1], 0, width - patch)};
}

// The place of a candidate in a window's raster order, -1 outside.
C10_HOST_DEVICE inline int ordinal_in(const Window& window, Point p) {
  const int y = p.y - window.y, x = p.x - window.x;
  return y >= 0 && y < window.height && x >= 0 && x < window.width ? y * window.width + x : -1;
}

}  // namespace vnls
