// The trilinear form behind the aggregation of neighbour patches, and its maths, compiled by both backends:
//
//   S(v, g; w, off) = sum of w[m,q,k] * < g[m, frame(q) + d, q * stride_out + out_tap(i,j)],
//                                         v[m / share, neighbour(q, off[m,q,k]) + (d, in_tap(i,j))] >
//
// over lists m, queries q, neighbours k and taps (d,i,j). gather = dS/dg, spread = dS/dv, dots = dS/dw and dS/doff:
// each operator of the family, and each gradient of one, is one of the three. v and g have their channels last.
#pragma once

#include <torch/headeronly/macros/Macros.h>

#include <cmath>
#include <cstdint>
#include <type_traits>

#include "taps.h"

namespace vnls {

// Offsets at least this long mark a neighbour that does not exist; its code.
constexpr int kNowhere = 10000000;
constexpr int kMissing = -2;

// Division of n in [0, 2^31) by a constant, as a multiplication.
struct Divider {
  uint32_t divisor, magic, shift;

  Divider() = default;
  explicit Divider(uint32_t d) : divisor(d), magic(0), shift(0) {
    while ((uint64_t(1) << shift) < d) ++shift;
    magic = static_cast<uint32_t>(((uint64_t(1) << 32) * ((uint64_t(1) << shift) - d)) / d + 1);
  }

  // Returns n / divisor and leaves the remainder in n.
  C10_HOST_DEVICE uint32_t split(uint32_t& n) const {
    const uint32_t high = static_cast<uint32_t>((static_cast<uint64_t>(n) * magic) >> 32);
    const uint32_t quotient = (high + n) >> shift;
    n -= quotient * divisor;
    return quotient;
  }
};

struct PatchForm {
  int64_t lists, share;                              // lists m; how many of them share one plane of v
  int frames, height, width, channels;               // of v: [lists / share, frames, height, width, channels]
  int query_frames, rows, columns, count;            // of w: [lists, query_frames, rows, columns, count]
  int out_frames, out_height, out_width;             // of g: [lists, out_frames, out_height, out_width, channels]
  int patch, depth;                                  // taps: depth x patch x patch
  int stride_in, stride_out;                         // pixels between queries, in v and in g
  int dilation_in, dilation_out;                     // pixels between taps
  int lead_in, lead_out;                             // taps before the anchor
  bool reflect;                                      // taps beyond the frame are mirrored (else dropped)
  Divider by_frames, by_rows, by_columns, by_count;  // of w
  Divider by_width, by_height;                       // of v

  C10_HOST_DEVICE int tap_in(int i) const { return dilation_in * (i - lead_in); }
  C10_HOST_DEVICE int tap_out(int i) const { return dilation_out * (i - lead_out); }
  C10_HOST_DEVICE int64_t entries_per_list() const { return int64_t(query_frames) * rows * columns * count; }
  C10_HOST_DEVICE int64_t plane_pixels() const { return int64_t(frames) * height * width; }
  C10_HOST_DEVICE int64_t out_pixels() const { return int64_t(out_frames) * out_height * out_width; }

  // How far a tap lies from the anchor where none leaves the frame, in pixels of v and of g.
  C10_HOST_DEVICE int step_in(int d, int i, int j) const { return (d * height + tap_in(i)) * width + tap_in(j); }
  C10_HOST_DEVICE int step_out(int d, int i, int j) const {
    return (d * out_height + tap_out(i)) * out_width + tap_out(j);
  }
};

struct Query {
  int list, t, y, x;  // list: counted within the lists that share a plane
};

// The query of an entry; entries are counted within the lists that share a plane.
C10_HOST_DEVICE inline Query query_of(const PatchForm& form, uint32_t entry) {
  uint32_t rest = entry;
  rest = form.by_count.split(rest);
  uint32_t above = form.by_columns.split(rest);
  const int x = static_cast<int>(rest);
  rest = above;
  above = form.by_rows.split(rest);
  const int y = static_cast<int>(rest);
  rest = above;
  above = form.by_frames.split(rest);
  return Query{static_cast<int>(above), static_cast<int>(rest), y, x};
}

// Where a pixel of a plane, counted from its first, begins: by one multiplication of 32 bits.
template <typename T>
C10_HOST_DEVICE const T* pixel_at(const T* plane, int pixel, int channels) {
  return plane + static_cast<uint64_t>(static_cast<uint32_t>(pixel)) * static_cast<uint32_t>(channels);
}

// Where a query's patch of g lies, its code: twice the pixel of its anchor, counted over the lists that share a plane,
// plus 1 if no tap leaves the frame. Without it the pixel may lie outside and means nothing.
C10_HOST_DEVICE inline int target_of(const PatchForm& form, const Query& q) {
  const int y = q.y * form.stride_out, x = q.x * form.stride_out;
  const bool inside = y + form.tap_out(0) >= 0 && y + form.tap_out(form.patch - 1) < form.out_height &&
                      x + form.tap_out(0) >= 0 && x + form.tap_out(form.patch - 1) < form.out_width &&
                      q.t + form.depth <= form.out_frames;
  return inside ? 2 * (((q.list * form.out_frames + q.t) * form.out_height + y) * form.out_width + x) + 1 : 0;
}

C10_HOST_DEVICE inline int mirror(int i, int n) {
  return static_cast<unsigned>(i) < static_cast<unsigned>(n) ? i : whole_sample_mirror(i, n);
}

// Where a neighbour lies: a whole pixel of v and, for offsets that are not whole, what is left to the right and below.
// sign: the derivative of the mirrored coordinate by the offset.
template <typename T>
struct Anchor {
  int t, y, x;
  T fy, fx, sign_y, sign_x;
};

template <typename T>
C10_HOST_DEVICE T mirror_coordinate(T s, int n, T& sign) {
  sign = 1;
  const T last = static_cast<T>(n - 1);
  if (s >= 0 && s <= last) return s;
  if (n == 1) {
    sign = 0;
    return 0;
  }
  s = std::fmod(s, 2 * last);
  if (s < 0) s += 2 * last;
  if (s > last) {
    s = 2 * last - s;
    sign = -1;
  }
  return s < 0 ? T(0) : s;
}

template <typename T>
C10_HOST_DEVICE bool locate(const PatchForm& form, const int* offset, int t, int y, int x, Anchor<T>& anchor) {
  const int dt = offset[0], dy = offset[1], dx = offset[2];
  if (dt <= -kNowhere || dt >= kNowhere || dy <= -kNowhere || dy >= kNowhere || dx <= -kNowhere || dx >= kNowhere)
    return false;
  anchor.t = mirror(t + dt, form.frames);
  anchor.y = mirror(y * form.stride_in + dy, form.height);
  anchor.x = mirror(x * form.stride_in + dx, form.width);
  return true;
}

template <typename T, typename = std::enable_if_t<std::is_floating_point_v<T>>>
C10_HOST_DEVICE bool locate(const PatchForm& form, const T* offset, int t, int y, int x, Anchor<T>& anchor) {
  const T dt = offset[0], dy = offset[1], dx = offset[2], limit = kNowhere;
  // Written so that NaN is nowhere too.
  if (!(dt > -limit && dt < limit && dy > -limit && dy < limit && dx > -limit && dx < limit)) return false;
  anchor.t = mirror(t + static_cast<int>(std::floor(dt + T(0.5))), form.frames);
  const T ay = mirror_coordinate(static_cast<T>(y * form.stride_in) + dy, form.height, anchor.sign_y);
  const T ax = mirror_coordinate(static_cast<T>(x * form.stride_in) + dx, form.width, anchor.sign_x);
  anchor.y = static_cast<int>(ay);
  anchor.x = static_cast<int>(ax);
  anchor.fy = ay - static_cast<T>(anchor.y);
  anchor.fx = ax - static_cast<T>(anchor.x);
  return true;
}

// Located neighbours, one of each per entry, so that the ps * ps visits of an entry need not locate it again. code:
// kMissing, or twice the pixel of v within its plane, plus 1 if no tap leaves the frame. fractions: (fy, fx), for
// offsets that are not whole.
template <typename T>
struct Located {
  const int* codes;
  const T* fractions;
};

template <bool kBilinear, typename T>
C10_HOST_DEVICE int code_of(const PatchForm& form, const Anchor<T>& anchor) {
  const int first = form.tap_in(0), last = form.tap_in(form.patch - 1) + (kBilinear ? 1 : 0);
  const bool inside = anchor.y + first >= 0 && anchor.y + last < form.height && anchor.x + first >= 0 &&
                      anchor.x + last < form.width && anchor.t + form.depth <= form.frames;
  return 2 * ((anchor.t * form.height + anchor.y) * form.width + anchor.x) + inside;
}

template <bool kBilinear, typename T>
C10_HOST_DEVICE Anchor<T> anchor_of(const PatchForm& form, const T* fractions, int code) {
  Anchor<T> anchor{};
  uint32_t rest = static_cast<uint32_t>(code >> 1);
  uint32_t row = form.by_width.split(rest);
  anchor.x = static_cast<int>(rest);
  anchor.t = static_cast<int>(form.by_height.split(row));
  anchor.y = static_cast<int>(row);
  if constexpr (kBilinear) {
    anchor.fy = fractions[0];
    anchor.fx = fractions[1];
  }
  return anchor;
}

// Samples of one axis: the pixel at `first` and, between pixels, `second`. False: the tap falls outside and is dropped.
template <bool kBilinear, typename T>
C10_HOST_DEVICE bool axis_sample(int at, T fraction, int n, bool reflect, int& first, int& second) {
  if (reflect) {
    first = mirror(at, n);
    second = kBilinear ? mirror(at + 1, n) : 0;
    return true;
  }
  if (at < 0 || at > n - 1 || (kBilinear && at == n - 1 && fraction > 0)) return false;
  first = at;
  second = kBilinear && at < n - 1 ? at + 1 : at;  // beyond the last pixel only with weight 0
  return true;
}

// Calls body(pixel of v, weight) for each pixel that one tap of a neighbour reads; pixels counted within the plane.
template <bool kBilinear, typename T, typename Body>
C10_HOST_DEVICE void visit_samples(const PatchForm& form, const Anchor<T>& anchor, int d, int i, int j, T weight,
                                   Body&& body) {
  int y0, y1, x0, x1;
  if (!axis_sample<kBilinear>(anchor.y + form.tap_in(i), kBilinear ? anchor.fy : T(0), form.height, form.reflect, y0,
                              y1))
    return;
  if (!axis_sample<kBilinear>(anchor.x + form.tap_in(j), kBilinear ? anchor.fx : T(0), form.width, form.reflect, x0,
                              x1))
    return;
  const int frame = mirror(anchor.t + d, form.frames) * form.height;
  const int row0 = (frame + y0) * form.width;
  if constexpr (kBilinear) {
    const int row1 = (frame + y1) * form.width;
    const T below = weight * anchor.fy, above = weight - below;
    const T below_right = below * anchor.fx, above_right = above * anchor.fx;
    body(row0 + x0, above - above_right);
    body(row0 + x1, above_right);
    body(row1 + x0, below - below_right);
    body(row1 + x1, below_right);
  } else {
    body(row0 + x0, weight);
  }
}

// The query n with n * stride == at, if the grid has one.
C10_HOST_DEVICE inline bool on_grid(int at, int stride, int count, int& n) {
  if (at < 0) return false;
  n = stride == 1 ? at : at / stride;
  return n < count && n * stride == at;
}

// gather: calls body(pixel of v, weight) for all that pixel (to, oy, ox) of list m sums, in a fixed order.
template <bool kBilinear, typename T, typename Body>
C10_HOST_DEVICE void visit_sources(const PatchForm& form, const T* weights, const Located<T>& located, int64_t list,
                                   int to, int oy, int ox, Body&& body) {
  for (int d = 0; d < form.depth; ++d) {
    const int t = to - d;
    if (t < 0 || t >= form.query_frames) continue;
    for (int i = 0; i < form.patch; ++i) {
      int y;
      if (!on_grid(oy - form.tap_out(i), form.stride_out, form.rows, y)) continue;
      for (int j = 0; j < form.patch; ++j) {
        int x;
        if (!on_grid(ox - form.tap_out(j), form.stride_out, form.columns, x)) continue;
        const int64_t first = (((list * form.query_frames + t) * form.rows + y) * form.columns + x) * form.count;
        const int* const codes = located.codes + first;
        const T *const of_query = weights + first, *const fractions = located.fractions + 2 * first;
        const int step = form.step_in(d, i, j);
        for (int k = 0; k < form.count; ++k) {
          const int code = codes[k];
          const T weight = of_query[k];
          if (code < 0) continue;
          if ((code & 1) == 0) {
            const auto anchor = anchor_of<kBilinear>(form, fractions + 2 * k, code);
            visit_samples<kBilinear>(form, anchor, d, i, j, weight, body);
            continue;
          }
          const int pixel = (code >> 1) + step;
          if constexpr (kBilinear) {
            const T below = weight * fractions[2 * k], above = weight - below;
            const T fx = fractions[2 * k + 1], below_right = below * fx, above_right = above * fx;
            body(pixel, above - above_right);
            body(pixel + 1, above_right);
            body(pixel + form.width, below - below_right);
            body(pixel + form.width + 1, below_right);
          } else {
            body(pixel, weight);
          }
        }
      }
    }
  }
}

// The anchors a in [0, n) whose tap lands on p: mirror(a + shift) == p, or a + shift == p without mirror. At most two,
// because a window of n positions holds each of the classes p and -p (modulo 2(n-1)) at most once.
C10_HOST_DEVICE inline int anchors_onto(int p, int shift, int n, bool reflect, int (&anchors)[2]) {
  const int direct = p - shift;
  if (!reflect) {
    anchors[0] = direct;
    return direct >= 0 && direct < n;
  }
  if (n == 1) {
    anchors[0] = 0;
    return 1;
  }
  const int period = 2 * (n - 1);
  int found = 0;
  auto wrapped = [period](int a) {
    if (a < 0) a += period;
    if (static_cast<unsigned>(a) < static_cast<unsigned>(period)) return a;
    a %= period;
    return a < 0 ? a + period : a;
  };
  const int first = wrapped(direct), second = wrapped(-p - shift);
  if (first < n) anchors[found++] = first;
  if (second < n && second != first) anchors[found++] = second;
  return found;
}

// Entries sorted by the cell of their anchor, with all that a visit needs of them side by side: those of cell c are
// starts[c] .. starts[c + 1] - 1. targets: codes, see target_of. entries: counted within the lists that share a plane.
template <typename T>
struct Bins {
  const int64_t* starts;
  const int *entries, *targets;
  const T* weights;
};

// Whether a tap between pixels that lands on p from corner c (0 or 1) lies inside the frame.
template <typename T>
C10_HOST_DEVICE bool corner_inside(int p, int corner, T fraction, int n) {
  return corner == 0 ? p < n - 1 || fraction == 0 : p >= 1;
}

// spread: calls body(pixel of g, weight) for all that pixel (at, ay, ax) of a plane of v sums, in a fixed order: taps,
// then cells, then entries as they lie in their bin. Pixels of g are counted over the lists that share the plane.
template <bool kBilinear, typename T, typename Body>
C10_HOST_DEVICE void visit_targets(const PatchForm& form, const Located<T>& located, const Bins<T>& bins, int64_t plane,
                                   int vt, int vy, int vx, Body&& body) {
  constexpr int kCorners = kBilinear ? 2 : 1;
  const int64_t* starts = bins.starts + plane * form.plane_pixels();
  const T* fractions = kBilinear ? located.fractions + 2 * plane * form.share * form.entries_per_list() : nullptr;
  for (int d = 0; d < form.depth; ++d) {
    int ts[2];
    const int nt = anchors_onto(vt, d, form.frames, true, ts);
    for (int a = 0; a < nt; ++a)
      for (int i = 0; i < form.patch; ++i)
        for (int cy = 0; cy < kCorners; ++cy) {
          int ys[2];
          const int ny = anchors_onto(vy, form.tap_in(i) + cy, form.height, form.reflect, ys);
          for (int b = 0; b < ny; ++b)
            for (int j = 0; j < form.patch; ++j)
              for (int cx = 0; cx < kCorners; ++cx) {
                int xs[2];
                const int nx = anchors_onto(vx, form.tap_in(j) + cx, form.width, form.reflect, xs);
                for (int c = 0; c < nx; ++c) {
                  const int cell = (ts[a] * form.height + ys[b]) * form.width + xs[c];
                  const int step = form.step_out(d, i, j);
                  const int64_t first = starts[cell];
                  const int count = static_cast<int>(starts[cell + 1] - first);
                  const int *const entries = bins.entries + first, *const targets = bins.targets + first;
                  const T* const weights = bins.weights + first;
                  for (int n = 0; n < count; ++n) {
                    const int target = targets[n];
                    T weight = weights[n];
                    int pixel = (target >> 1) + step;
                    if ((target & 1) == 0) {
                      const Query q = query_of(form, static_cast<uint32_t>(entries[n]));
                      const int to = q.t + d, oy = q.y * form.stride_out + form.tap_out(i);
                      const int ox = q.x * form.stride_out + form.tap_out(j);
                      if (to >= form.out_frames || oy < 0 || oy >= form.out_height || ox < 0 || ox >= form.out_width)
                        continue;
                      pixel = ((q.list * form.out_frames + to) * form.out_height + oy) * form.out_width + ox;
                    }
                    if constexpr (kBilinear) {
                      const T* fraction = fractions + 2 * int64_t(entries[n]);
                      const T fy = fraction[0], fx = fraction[1];
                      if (!form.reflect &&
                          !(corner_inside(vy, cy, fy, form.height) && corner_inside(vx, cx, fx, form.width)))
                        continue;
                      weight *= (cy ? fy : 1 - fy) * (cx ? fx : 1 - fx);
                    }
                    body(pixel, weight);
                  }
                }
              }
        }
  }
}

// What the taps of one entry pair: a pixel of g (counted within the list) with the pixels of v around the tap (counted
// within the plane); without fractions only the first counts.
struct Pairing {
  int target, above_left, above_right, below_left, below_right;
};

template <bool kBilinear, typename T, typename Body>
C10_HOST_DEVICE void visit_pairs(const PatchForm& form, const Anchor<T>& anchor, Query q, Body&& body) {
  q.list = 0;
  const int code = code_of<kBilinear>(form, anchor), target = target_of(form, q);
  if (code & target & 1) {
    for (int d = 0; d < form.depth; ++d)
      for (int i = 0; i < form.patch; ++i)
        for (int j = 0; j < form.patch; ++j) {
          const int at = (code >> 1) + form.step_in(d, i, j);
          body(Pairing{(target >> 1) + form.step_out(d, i, j), at, at + 1, at + form.width, at + form.width + 1});
        }
    return;
  }
  for (int d = 0; d < form.depth && q.t + d < form.out_frames; ++d) {
    const int frame = mirror(anchor.t + d, form.frames) * form.height;
    for (int i = 0; i < form.patch; ++i) {
      const int oy = q.y * form.stride_out + form.tap_out(i);
      int y0, y1;
      if (oy < 0 || oy >= form.out_height ||
          !axis_sample<kBilinear>(anchor.y + form.tap_in(i), kBilinear ? anchor.fy : T(0), form.height, form.reflect,
                                  y0, y1))
        continue;
      const int row = ((q.t + d) * form.out_height + oy) * form.out_width;
      for (int j = 0; j < form.patch; ++j) {
        const int ox = q.x * form.stride_out + form.tap_out(j);
        int x0, x1;
        if (ox < 0 || ox >= form.out_width ||
            !axis_sample<kBilinear>(anchor.x + form.tap_in(j), kBilinear ? anchor.fx : T(0), form.width, form.reflect,
                                    x0, x1))
          continue;
        const int above = (frame + y0) * form.width;
        if constexpr (kBilinear) {
          const int below = (frame + y1) * form.width;
          body(Pairing{row + ox, above + x0, above + x1, below + x0, below + x1});
        } else {
          body(Pairing{row + ox, above + x0, 0, 0, 0});
        }
      }
    }
  }
}

}  // namespace vnls
