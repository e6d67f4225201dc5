// Patches of a regular grid of queries: which pixel a tap reads, which taps read a pixel. Compiled by both backends.
#pragma once

#include <torch/headeronly/macros/Macros.h>

#include <cstdint>

#include "taps.h"

namespace vnls {

constexpr int kMostTaps = 64;  // along an axis: the bits of a mask

struct PatchGrid {
  int64_t batch;
  int frames, channels, height, width;
  int patch, depth, dilation, lead;
  bool reflect;                          // else taps outside are 0 (unfold) and dropped (fold)
  int top, left, stride, rows, columns;  // query (t, r, c) lies at (t, top + stride * r, left + stride * c)
  int64_t start, count;                  // the queries of the call, in raster order

  C10_HOST_DEVICE int first_tap(int centre) const { return centre - dilation * lead; }
  C10_HOST_DEVICE int reach() const { return dilation * (lead > patch - 1 - lead ? lead : patch - 1 - lead); }
  C10_HOST_DEVICE int64_t patch_values() const { return int64_t(depth) * channels * patch * patch; }
};

C10_HOST_DEVICE inline int folded(int i, int n) {
  return static_cast<unsigned>(i) < static_cast<unsigned>(n) ? i : whole_sample_mirror(i, n);
}

// The pixel of one plane that tap i of a query at `centre` reads, or -1.
C10_HOST_DEVICE inline int tap_pixel(const PatchGrid& grid, int centre, int i, int n) {
  const int at = grid.first_tap(centre) + grid.dilation * i;
  if (grid.reflect) return folded(at, n);
  return at >= 0 && at < n ? at : -1;
}

// The taps of a query at `centre` that read pixel p, as bits.
C10_HOST_DEVICE inline uint64_t taps_onto(const PatchGrid& grid, int centre, int p, int n) {
  const int first = grid.first_tap(centre), span = grid.dilation * (grid.patch - 1);
  if (!grid.reflect || (first >= 0 && first + span < n)) {
    const int away = p - first;
    if (away < 0 || away > span || away % grid.dilation != 0) return 0;
    return uint64_t(1) << (away / grid.dilation);
  }
  uint64_t taps = 0;
  for (int i = 0; i < grid.patch; ++i)
    if (folded(first + grid.dilation * i, n) == p) taps |= uint64_t(1) << i;
  return taps;
}

// The same of time, whose taps lead forward from the query's frame and are always mirrored.
C10_HOST_DEVICE inline uint64_t frames_onto(const PatchGrid& grid, int t, int p) {
  uint64_t taps = 0;
  for (int d = 0; d < grid.depth; ++d)
    if (folded(t + d, grid.frames) == p) taps |= uint64_t(1) << d;
  return taps;
}

C10_HOST_DEVICE inline int lowest_bit(uint64_t bits) {
#ifdef __CUDA_ARCH__
  return __ffsll(static_cast<long long>(bits)) - 1;
#else
  return __builtin_ctzll(bits);
#endif
}

// The grid lines within `reach` of pixel p: a mirror never takes a tap further from its query than it was.
C10_HOST_DEVICE inline void lines_near(int p, int origin, int stride, int count, int reach, int& first, int& last) {
  const int low = p - reach - origin, high = p + reach - origin;
  first = low <= 0 ? 0 : (low + stride - 1) / stride;
  last = high < 0 ? -1 : high / stride;
  if (last > count - 1) last = count - 1;
}

// Calls body(offset of a patch value for channel 0, counted within the call) for all that pixel (t, y, x) sums: queries
// in rising order, then taps. Sums continued over calls are therefore those of one call.
template <typename Body>
C10_HOST_DEVICE void visit_patches(const PatchGrid& grid, int t, int y, int x, Body&& body) {
  const int t_first = t - grid.depth + 1 > 0 ? t - grid.depth + 1 : 0;
  const int t_last = t + grid.depth - 1 < grid.frames - 1 ? t + grid.depth - 1 : grid.frames - 1;
  int r_first, r_last, c_first, c_last;
  lines_near(y, grid.top, grid.stride, grid.rows, grid.reach(), r_first, r_last);
  lines_near(x, grid.left, grid.stride, grid.columns, grid.reach(), c_first, c_last);
  const int side = grid.patch;
  for (int tq = t_first; tq <= t_last; ++tq) {
    const uint64_t frames = frames_onto(grid, tq, t);
    if (frames == 0) continue;
    for (int r = r_first; r <= r_last; ++r) {
      const uint64_t rows = taps_onto(grid, grid.top + grid.stride * r, y, grid.height);
      if (rows == 0) continue;
      const int64_t line = (int64_t(tq) * grid.rows + r) * grid.columns - grid.start;
      for (int c = c_first; c <= c_last; ++c) {
        const int64_t query = line + c;
        if (query < 0 || query >= grid.count) continue;
        const uint64_t columns = taps_onto(grid, grid.left + grid.stride * c, x, grid.width);
        for (uint64_t ds = columns ? frames : 0; ds; ds &= ds - 1)
          for (uint64_t is = rows; is; is &= is - 1)
            for (uint64_t js = columns; js; js &= js - 1)
              body(query * grid.patch_values() + int64_t(lowest_bit(ds)) * grid.channels * side * side +
                   lowest_bit(is) * side + lowest_bit(js));
      }
    }
  }
}

// Where value `index` of the patches of a call comes from, counted within the video; -1: from outside.
C10_HOST_DEVICE inline int64_t value_source(const PatchGrid& grid, int64_t index) {
  const int side = grid.patch, j = static_cast<int>(index % side);
  index /= side;
  const int i = static_cast<int>(index % side);
  index /= side;
  const int channel = static_cast<int>(index % grid.channels);
  index /= grid.channels;
  const int d = static_cast<int>(index % grid.depth);
  int64_t query = grid.start + index / grid.depth % grid.count;
  const int64_t video = index / grid.depth / grid.count;
  const int column = static_cast<int>(query % grid.columns);
  query /= grid.columns;
  const int row = static_cast<int>(query % grid.rows), t = static_cast<int>(query / grid.rows);
  const int y = tap_pixel(grid, grid.top + grid.stride * row, i, grid.height);
  const int x = tap_pixel(grid, grid.left + grid.stride * column, j, grid.width);
  if (y < 0 || x < 0) return -1;
  const int64_t frame = video * grid.frames + folded(t + d, grid.frames);
  return ((frame * grid.channels + channel) * grid.height + y) * grid.width + x;
}

}  // namespace vnls
