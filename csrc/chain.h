// Flow chained from frame to frame at fractional positions, its adjoint, and the order of frames in a temporal window.
// Compiled by both backends.
#pragma once

#include <torch/headeronly/macros/Macros.h>

#include <cmath>
#include <cstdint>

#include "fixed.h"
#include "taps.h"

namespace vnls {

// Frame of a slot of the temporal window of frame t: t, t+1, ..., last, then t-1, t-2, ... The window keeps its length
// at the ends of the clip by sliding.
C10_HOST_DEVICE inline int frame_of_slot(int t, int slot, int frames, int reach) {
  const int before = t - reach < 0 ? t - reach : 0, after = t + reach > frames - 1 ? t + reach - (frames - 1) : 0;
  const int end = t + reach - before - after;
  const int last = end < frames - 1 ? end : frames - 1;
  return t + slot <= last ? t + slot : last - slot;
}

template <typename T>
struct ChainArgs {
  const T* forward;   // [batch, frames, 2, height, width]: t -> t + 1; channel 0 = x
  const T* backward;  // the same for t -> t - 1
  int64_t batch;
  int frames, height, width;
  int rows, columns, stride;  // the grid of queries
  int slots, reach;           // slots = frames of the window without the query's own
  T* flows;                   // [batch, frames, slots, 2, rows, columns]
};

// The four samples around a position, mirrored at the borders, and its fractions.
template <typename T>
struct Corner {
  int y0, y1, x0, x1;
  T fy, fx;
};

// False where the position is not finite or beyond what an int can index: nothing may be read there.
template <typename T>
C10_HOST_DEVICE inline bool corner_at(T y, T x, int height, int width, Corner<T>& corner) {
  if (!(fabs(y) < T(1 << 30) && fabs(x) < T(1 << 30))) return false;
  const T fy = floor(y), fx = floor(x);
  const int yi = static_cast<int>(fy), xi = static_cast<int>(fx);
  corner = {whole_sample_mirror(yi, height),
            whole_sample_mirror(yi + 1, height),
            whole_sample_mirror(xi, width),
            whole_sample_mirror(xi + 1, width),
            y - fy,
            x - fx};
  return true;
}

// One query's place in the batch and in the grid, and the walk over its slots.
template <typename T>
struct ChainQuery {
  int64_t b;
  int t, i, j;
  int64_t at, plane;  // of slot 0, channel 0 in a tensor shaped like the flows; size of one channel

  C10_HOST_DEVICE ChainQuery(const ChainArgs<T>& a, int64_t n) : plane(int64_t(a.rows) * a.columns) {
    j = static_cast<int>(n % a.columns);
    i = static_cast<int>(n / a.columns % a.rows);
    t = static_cast<int>(n / plane % a.frames);
    b = n / plane / a.frames;
    at = (b * a.frames + t) * a.slots * 2 * plane + int64_t(i) * a.columns + j;
  }

  C10_HOST_DEVICE int64_t slot(int s) const { return at + int64_t(s - 1) * 2 * plane; }

  // Whether slot s starts a direction: its hop then leaves from the query itself.
  C10_HOST_DEVICE bool starts(const ChainArgs<T>& a, int s) const {
    return s == 1 || (frame_of_slot(t, s, a.frames, a.reach) < t && frame_of_slot(t, s - 1, a.frames, a.reach) > t);
  }

  // Offset of the field that slot s hops along, and whether it is a forward one.
  C10_HOST_DEVICE int64_t field(const ChainArgs<T>& a, int s, bool& ahead) const {
    const int next = frame_of_slot(t, s, a.frames, a.reach);
    ahead = next > t;
    return (b * a.frames + (ahead ? next - 1 : next + 1)) * 2 * a.height * a.width;
  }

  // Where the hop of slot s leaves from.
  C10_HOST_DEVICE void origin(const ChainArgs<T>& a, int s, T& y, T& x) const {
    y = T(i) * a.stride, x = T(j) * a.stride;
    if (starts(a, s)) return;
    x += a.flows[slot(s - 1)], y += a.flows[slot(s - 1) + plane];
  }
};

template <typename T>
C10_HOST_DEVICE inline void trace_query(const ChainArgs<T>& a, int64_t n) {
  const ChainQuery<T> query(a, n);
  const int64_t size = int64_t(a.height) * a.width;
  for (int s = 1; s <= a.slots; ++s) {
    T y, x;
    query.origin(a, s, y, x);
    bool ahead;
    const int64_t from = query.field(a, s, ahead);
    const T* field = (ahead ? a.forward : a.backward) + from;
    Corner<T> c;
    if (corner_at(y, x, a.height, a.width, c)) {
      const int64_t top = int64_t(c.y0) * a.width, bottom = int64_t(c.y1) * a.width;
      T moved[2];
      for (int channel = 0; channel < 2; ++channel, field += size) {
        moved[channel] = (1 - c.fy) * ((1 - c.fx) * field[top + c.x0] + c.fx * field[top + c.x1]) +
                         c.fy * ((1 - c.fx) * field[bottom + c.x0] + c.fx * field[bottom + c.x1]);
      }
      x += moved[0], y += moved[1];
    }
    a.flows[query.slot(s)] = x - T(query.j) * a.stride;
    a.flows[query.slot(s) + query.plane] = y - T(query.i) * a.stride;
  }
}

// From the gradient of the flows to the gradient of every hop's displacement: what later hops of the same direction owe
// to where they left from comes back through the slope of the field.
template <typename T>
C10_HOST_DEVICE inline void hop_gradients(const ChainArgs<T>& a, const T* gradient, T* hops, int64_t n) {
  const ChainQuery<T> query(a, n);
  const int64_t size = int64_t(a.height) * a.width;
  T carry_x = 0, carry_y = 0;
  for (int s = a.slots; s >= 1; --s) {
    const int64_t at = query.slot(s);
    if (s == a.slots || query.starts(a, s + 1)) carry_x = carry_y = 0;
    const T gx = gradient[at] + carry_x, gy = gradient[at + query.plane] + carry_y;
    hops[at] = gx, hops[at + query.plane] = gy;
    T y, x;
    query.origin(a, s, y, x);
    bool ahead;
    const int64_t from = query.field(a, s, ahead);
    const T* field = (ahead ? a.forward : a.backward) + from;
    Corner<T> c;
    carry_x = gx, carry_y = gy;
    if (!corner_at(y, x, a.height, a.width, c)) continue;
    const int64_t top = int64_t(c.y0) * a.width, bottom = int64_t(c.y1) * a.width;
    for (int channel = 0; channel < 2; ++channel, field += size) {
      const T g = channel == 0 ? gx : gy;
      carry_x += g * ((1 - c.fy) * (field[top + c.x1] - field[top + c.x0]) +
                      c.fy * (field[bottom + c.x1] - field[bottom + c.x0]));
      carry_y += g * ((1 - c.fx) * (field[bottom + c.x0] - field[top + c.x0]) +
                      c.fx * (field[bottom + c.x1] - field[top + c.x1]));
    }
  }
}

// Adds every hop's gradient to the four samples it read: add(is forward, index, fixed-point value).
template <typename T, typename Add>
C10_HOST_DEVICE inline void scatter_hops(const ChainArgs<T>& a, const T* hops, T scale, int64_t n, Add&& add) {
  const ChainQuery<T> query(a, n);
  const int64_t size = int64_t(a.height) * a.width;
  for (int s = 1; s <= a.slots; ++s) {
    T y, x;
    query.origin(a, s, y, x);
    bool ahead;
    int64_t from = query.field(a, s, ahead);
    Corner<T> c;
    if (!corner_at(y, x, a.height, a.width, c)) continue;
    const int64_t top = int64_t(c.y0) * a.width, bottom = int64_t(c.y1) * a.width;
    for (int channel = 0; channel < 2; ++channel, from += size) {
      const T g = hops[query.slot(s) + channel * query.plane];
      add(ahead, from + top + c.x0, to_fixed((1 - c.fy) * (1 - c.fx) * g, scale));
      add(ahead, from + top + c.x1, to_fixed((1 - c.fy) * c.fx * g, scale));
      add(ahead, from + bottom + c.x0, to_fixed(c.fy * (1 - c.fx) * g, scale));
      add(ahead, from + bottom + c.x1, to_fixed(c.fy * c.fx * g, scale));
    }
  }
}

}  // namespace vnls
