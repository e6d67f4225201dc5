// The non-local search in windows around given centres: arguments, placement of windows, samples. Compiled by both
// backends. Every search of the family is this one: a centre a frame (search), a centre a neighbour (refinement), one
// centre in another video (paired search).
#pragma once

#include <torch/headeronly/macros/Macros.h>

#include <cmath>
#include <cstdint>

#include "taps.h"

namespace vnls {

// Which candidate is known beforehand. Order as in vnlsdenoise/ops/nonlocal_search.py.
enum class Self { kNone, kAnchor, kAnchorEach, kRemove };

// What the caller chose; order as in `Settings` of vnlsdenoise/ops/nonlocal_search.py.
struct NonlocalSettings {
  int heads;
  int ws, ws_interior;  // side of a window; of the queries not in the last row or column, 0 = the same
  int ps, pt, dilation;
  bool prod, reflect, full, bilinear;
  int stride0, stride_q;
  int first_tap;  // -(ps / 2), or 0 for patches anchored at their top left
  int off_h, off_w;
  Self self;
  int lists;           // 1, or one a window
  int keep;            // length of a list; 0 = every candidate in order
  int differentiable;  // first neighbours of a list that receive a gradient
  bool channels_last;
};

template <typename T>
struct NonlocalArgs {
  NonlocalSettings s;
  T stride1;
  const T* queries;  // [batch, frames, heads * features, height, width], or channels last
  const T* keys;
  const T* centres;  // [batch, centre_heads, frames, rows, columns, windows, 3] (dt, dy, dx), rounded unless bilinear
  int64_t count;     // of queries: batch * heads * frames * rows * columns
  int frames, features, q_height, q_width, k_height, k_width;
  int centre_heads, rows, columns, windows;
  int neighbors;  // over all lists

  C10_HOST_DEVICE int side2() const { return s.ws * s.ws; }
  C10_HOST_DEVICE int channels() const { return s.heads * features; }
};

C10_HOST_DEVICE inline int mirror_index(int i, int n) {
  if (static_cast<unsigned>(i) < static_cast<unsigned>(n)) return i;
  return whole_sample_mirror(i, n);
}

// Whole-sample mirror of a position, for any distance; slope is its derivative.
template <typename T>
C10_HOST_DEVICE inline T mirror_position(T v, int size, T& slope) {
  const T last = T(size - 1);
  slope = 1;
  if (v >= 0 && v <= last) return v;
  if (size == 1) {
    slope = 0;
    return 0;
  }
  if (v < 0) v = -v, slope = -1;
  v = fmod(v, 2 * last);
  if (v > last) v = 2 * last - v, slope = -slope;
  return v;
}

// One query: its place in batch, heads, time and grid.
struct NonlocalQuery {
  int64_t b, centre;  // index of its first window in centres / 3
  int head, t, i, j;

  template <typename T>
  C10_HOST_DEVICE NonlocalQuery(const NonlocalArgs<T>& a, int64_t n) {
    if (a.count <= UINT32_MAX) {  // divisions of 64 bits are slow
      split(a, static_cast<uint32_t>(n));
    } else {
      split(a, static_cast<uint64_t>(n));
    }
    centre = ((((b * a.centre_heads + head % a.centre_heads) * a.frames + t) * a.rows + i) * a.columns + j) * a.windows;
  }

 private:
  template <typename T, typename Number>
  C10_HOST_DEVICE void split(const NonlocalArgs<T>& a, Number n) {
    j = static_cast<int>(n % a.columns), n /= a.columns;
    i = static_cast<int>(n % a.rows), n /= a.rows;
    t = static_cast<int>(n % a.frames), n /= a.frames;
    head = static_cast<int>(n % a.s.heads);
    b = n / a.s.heads;
  }
};

// A window: candidate (i, j) lies at (y + stride1 * (i - start_y), x + stride1 * (j - start_x)) of `frame`.
template <typename T>
struct Placed {
  T y, x;
  T slope_y, slope_x;  // of y and x by the centre's offset
  int frame, start_y, start_x;
  int side;  // 0: the centre is not finite, or so far that it is no position
};

template <typename T>
C10_HOST_DEVICE inline int window_start(T centre, T stride, int side, int size, bool full) {
  int start = (side - 1) / 2;
  if (full) {
    if (centre - stride * start < 0) start = static_cast<int>(floor(double(centre) / double(stride)));
    if (centre + stride * (side - 1 - start) > T(size - 1)) {
      start = static_cast<int>(ceil((double(centre) - (size - 1)) / double(stride) + (side - 1)));
    }
  }
  return start;
}

template <typename T>
C10_HOST_DEVICE inline Placed<T> place(const NonlocalArgs<T>& a, const NonlocalQuery& query, int window) {
  const T* centre = a.centres + (query.centre + window) * 3;
  Placed<T> p{};
  if (!(fabs(centre[0]) < T(1e8) && fabs(centre[1]) < T(1e8) && fabs(centre[2]) < T(1e8))) return p;
  const bool interior = a.s.ws_interior > 0 && query.i < a.rows - 1 && query.j < a.columns - 1;
  p.side = interior ? a.s.ws_interior : a.s.ws;
  p.frame = mirror_index(query.t + static_cast<int>(floor(centre[0] + T(.5))), a.frames);
  const T dy = a.s.bilinear ? centre[1] : rint(centre[1]), dx = a.s.bilinear ? centre[2] : rint(centre[2]);
  p.y = mirror_position(T(query.i) * a.s.stride0 + dy, a.k_height, p.slope_y);
  p.x = mirror_position(T(query.j) * a.s.stride0 + dx, a.k_width, p.slope_x);
  p.start_y = window_start(p.y, a.stride1, p.side, a.k_height, a.s.full);
  p.start_x = window_start(p.x, a.stride1, p.side, a.k_width, a.s.full);
  return p;
}

template <typename T>
C10_HOST_DEVICE inline T candidate_y(const NonlocalArgs<T>& a, const Placed<T>& p, int i) {
  return p.y + a.stride1 * (i - p.start_y);
}

template <typename T>
C10_HOST_DEVICE inline T candidate_x(const NonlocalArgs<T>& a, const Placed<T>& p, int j) {
  return p.x + a.stride1 * (j - p.start_x);
}

// Whether candidate (i, j) of a window lies in the image.
template <typename T>
C10_HOST_DEVICE inline bool is_candidate(const NonlocalArgs<T>& a, const Placed<T>& p, int i, int j) {
  if (i >= p.side || j >= p.side) return false;
  const T y = candidate_y(a, p, i), x = candidate_x(a, p, j);
  return y >= 0 && y <= T(a.k_height - 1) && x >= 0 && x <= T(a.k_width - 1);
}

// Two mirrored samples along an axis, the fraction of the second, and whether the position lies in the image.
template <typename T>
struct Along {
  int low, high;
  T fraction;
  bool seen;
};

template <typename T>
C10_HOST_DEVICE inline Along<T> along(T position, int size, bool bilinear) {
  const T below = bilinear ? floor(position) : rint(position);
  const int at = static_cast<int>(below), low = mirror_index(at, size);
  return {low, bilinear ? mirror_index(at + 1, size) : low, bilinear ? position - below : T(0),
          position >= 0 && position <= T(size - 1)};
}

// Place of tap (row, column) of a query's patch in its frame; false where it lies outside and is left out.
template <typename T>
C10_HOST_DEVICE inline bool query_tap(const NonlocalArgs<T>& a, const NonlocalQuery& query, int row, int column,
                                      int64_t& pixel) {
  const int y = query.i * a.s.stride_q + a.s.dilation * (row + a.s.first_tap) + a.s.off_h;
  const int x = query.j * a.s.stride_q + a.s.dilation * (column + a.s.first_tap) + a.s.off_w;
  pixel = int64_t(mirror_index(y, a.q_height)) * a.q_width + mirror_index(x, a.q_width);
  return a.s.reflect || (y >= 0 && y < a.q_height && x >= 0 && x < a.q_width);
}

template <typename T>
C10_HOST_DEVICE inline T blend(T low, T high, T fraction) {
  return low + fraction * (high - low);
}

// The candidate of one window nearest to the query itself, in city blocks, frames counted as pixels.
template <typename T>
C10_HOST_DEVICE inline T nearest_to_self(const NonlocalArgs<T>& a, const NonlocalQuery& query, const Placed<T>& p,
                                         int& within) {
  T best_y = T(1e30), best_x = T(1e30);
  int row = 0, column = 0;
  for (int i = 0; i < p.side; ++i) {
    const T y = fabs(candidate_y(a, p, i) - T(query.i) * a.s.stride0);
    const T x = fabs(candidate_x(a, p, i) - T(query.j) * a.s.stride0);
    if (y < best_y) best_y = y, row = i;
    if (x < best_x) best_x = x, column = i;
  }
  within = row * a.s.ws + column;
  return best_y + best_x + T(p.frame > query.t ? p.frame - query.t : query.t - p.frame);
}

// Offset (dt, dy, dx) of a candidate from its query.
template <typename T>
C10_HOST_DEVICE inline void write_offset(const NonlocalArgs<T>& a, const NonlocalQuery& query, const Placed<T>& p,
                                         int within, T* offset) {
  const bool exists = p.side > 0;
  offset[0] = exists ? T(p.frame - query.t) : T(0);
  offset[1] = exists ? candidate_y(a, p, within / a.s.ws) - T(query.i) * a.s.stride0 : T(0);
  offset[2] = exists ? candidate_x(a, p, within % a.s.ws) - T(query.j) * a.s.stride0 : T(0);
}

}  // namespace vnls
