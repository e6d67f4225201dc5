// Body of the CPU non-local search; included once an instruction set by nonlocal.cpp (isa.h), inside a namespace.

template <typename T>
struct NonlocalCandidate {
  T key;  // the less the better: distance, or minus the product; infinite where there is none
  int ordinal;
  bool operator<(const NonlocalCandidate& other) const {
    return key < other.key || (key == other.key && ordinal < other.ordinal);
  }
};

template <typename T>
struct NonlocalScratch {
  std::vector<T> patch;                 // [pt, features, ps, ps] of the query
  std::vector<uint8_t> patch_seen;      // [ps, ps]
  std::vector<Along<T>> rows, columns;  // [ps, side]: of tap and candidate
  std::vector<int> row_slot;            // [ps, side]: row of `lines` of the first sample
  int wide;                             // ps * side, rounded up to whole vectors
  std::vector<T> lines;                 // rows of one key plane, sampled along x: [rows, wide]
  std::vector<T> spread, seen;          // one row of taps and whether it is seen: [wide]
  std::vector<T> sums;                  // [side, wide], then [side, side]
  std::vector<Placed<T>> places;
  std::vector<NonlocalCandidate<T>> found;
};

template <typename T>
void load_query(const NonlocalArgs<T>& a, const NonlocalQuery& query, NonlocalScratch<T>& w) {
  const int64_t plane = int64_t(a.q_height) * a.q_width;
  const int taps = a.s.ps * a.s.ps;
  w.patch.resize(static_cast<size_t>(a.s.pt) * a.features * taps);
  w.patch_seen.resize(taps);
  T* to = w.patch.data();
  for (int pk = 0; pk < a.s.pt; ++pk) {
    const int frame = mirror_index(query.t + pk, a.frames);
    const T* from =
        a.queries + ((query.b * a.frames + frame) * a.channels() + int64_t(query.head) * a.features) * plane;
    for (int c = 0; c < a.features; ++c, from += plane) {
      for (int tap = 0; tap < taps; ++tap) {
        int64_t pixel;
        w.patch_seen[tap] = query_tap(a, query, tap / a.s.ps, tap % a.s.ps, pixel);
        *to++ = from[pixel];
      }
    }
  }
}

// Adds one key plane to the sums of all candidates of a window. Lanes run over a row of candidates, once a column of
// taps: positions e = tap column * side + candidate column, whose sums are added over the taps at the end.
template <typename T, bool kProd, bool kBilinear, bool kMasked>
void add_plane(const NonlocalArgs<T>& a, const T* patch, const T* plane, int side, int first_row, int line_count,
               NonlocalScratch<T>& w) {
  const int ps = a.s.ps, wide = w.wide;
  for (int r = 0; r < line_count; ++r) {
    const T* from = plane + int64_t(mirror_index(first_row + r, a.k_height)) * a.k_width;
    T* line = w.lines.data() + static_cast<size_t>(r) * wide;
    for (int e = 0; e < ps * side; ++e) {
      const Along<T>& x = w.columns[e];
      line[e] = kBilinear ? blend(from[x.low], from[x.high], x.fraction) : from[x.low];
    }
  }
  for (int ty = 0; ty < ps; ++ty) {
    for (int tx = 0; tx < ps; ++tx) {
      const int tap = ty * ps + tx;
      std::fill_n(w.spread.data() + tx * side, side, patch[tap]);
      if (kMasked) {
        for (int j = 0; j < side; ++j) w.seen[tx * side + j] = w.patch_seen[tap] && w.columns[tx * side + j].seen;
      }
    }
    for (int i = 0; i < side; ++i) {
      const Along<T>& y = w.rows[ty * side + i];
      if (kMasked && !y.seen) continue;
      const T* low = w.lines.data() + static_cast<size_t>(w.row_slot[ty * side + i]) * wide;
      const T* high = low + wide;
      const T fraction = y.fraction;
      const T *spread = w.spread.data(), *seen = w.seen.data();
      T* __restrict sum = w.sums.data() + static_cast<size_t>(i) * wide;
#pragma GCC ivdep
      for (int e = 0; e < wide; ++e) {
        const T v = kBilinear ? blend(low[e], high[e], fraction) : low[e];
        const T u = spread[e], term = kProd ? u * v : (u - v) * (u - v);
        sum[e] += kMasked && seen[e] == 0 ? T(0) : term;
      }
    }
  }
}

template <typename T>
void window_sums(const NonlocalArgs<T>& a, const NonlocalQuery& query, const Placed<T>& p, NonlocalScratch<T>& w) {
  const int ps = a.s.ps, side = p.side;
  w.rows.resize(ps * side), w.columns.resize(ps * side), w.row_slot.resize(ps * side);
  int first = 1 << 30, last = -(1 << 30);
  for (int tap = 0; tap < ps; ++tap) {
    const int shift = a.s.dilation * (tap + a.s.first_tap);
    for (int i = 0; i < side; ++i) {
      const T y = candidate_y(a, p, i) + shift;
      w.rows[tap * side + i] = along(y, a.k_height, a.s.bilinear);
      w.columns[tap * side + i] = along(candidate_x(a, p, i) + shift, a.k_width, a.s.bilinear);
      const int row = static_cast<int>(a.s.bilinear ? std::floor(y) : std::rint(y));
      w.row_slot[tap * side + i] = row;
      first = std::min(first, row), last = std::max(last, row);
    }
  }
  for (int& slot : w.row_slot) slot -= first;
  const int lines = last - first + 2;
  constexpr int kLanes = kVectorBytes / sizeof(T);
  w.wide = (ps * side + kLanes - 1) / kLanes * kLanes;
  w.lines.resize(static_cast<size_t>(lines) * w.wide);
  w.spread.assign(w.wide, T(0)), w.seen.assign(w.wide, T(0));
  w.sums.assign(static_cast<size_t>(side) * w.wide, T(0));
  const int64_t size = int64_t(a.k_height) * a.k_width;
  const T* patch = w.patch.data();
  for (int pk = 0; pk < a.s.pt; ++pk) {
    const int frame = mirror_index(p.frame + pk, a.frames);
    const T* plane = a.keys + ((query.b * a.frames + frame) * a.channels() + int64_t(query.head) * a.features) * size;
    for (int c = 0; c < a.features; ++c, plane += size, patch += ps * ps) {
      auto add = [&](auto prod, auto bilinear) {
        if (a.s.reflect)
          add_plane<T, prod.value, bilinear.value, false>(a, patch, plane, side, first, lines, w);
        else
          add_plane<T, prod.value, bilinear.value, true>(a, patch, plane, side, first, lines, w);
      };
      if (a.s.prod)
        a.s.bilinear ? add(std::true_type{}, std::true_type{}) : add(std::true_type{}, std::false_type{});
      else
        a.s.bilinear ? add(std::false_type{}, std::true_type{}) : add(std::false_type{}, std::false_type{});
    }
  }
  for (int i = 0; i < side; ++i) {
    for (int j = 0; j < side; ++j) {
      T sum = 0;
      for (int tx = 0; tx < ps; ++tx) sum += w.sums[static_cast<size_t>(i) * w.wide + tx * side + j];
      w.sums[i * side + j] = sum;  // no later sum lies there: wide >= side
    }
  }
}

// The known candidate of every list, -1 where a list has none.
template <typename T>
int known_candidate(const NonlocalArgs<T>& a, const NonlocalQuery& query, const std::vector<Placed<T>>& places,
                    int list) {
  if (a.s.self == Self::kNone) return -1;
  if (a.s.self == Self::kAnchorEach) {
    const Placed<T>& p = places[list];
    return p.side ? list * a.side2() + p.start_y * a.s.ws + p.start_x : -1;
  }
  T best = std::numeric_limits<T>::infinity();
  int known = -1;
  for (int s = 0; s < a.windows; ++s) {
    int within;
    if (!places[s].side) continue;
    const T distance = nearest_to_self(a, query, places[s], within);
    if (distance < best) best = distance, known = s * a.side2() + within;
  }
  return a.s.lists == 1 || known / a.side2() == list ? known : -1;
}

template <typename T>
void nonlocal_queries(const NonlocalArgs<T>& a, T* distances, T* offsets, int* ordinals, int64_t begin, int64_t end) {
  constexpr T kInfinity = std::numeric_limits<T>::infinity();
  NonlocalScratch<T> w;
  w.places.resize(a.windows);
  const int side2 = a.side2(), length = a.windows * side2 / a.s.lists;
  for (int64_t n = begin; n < end; ++n) {
    const NonlocalQuery query(a, n);
    load_query(a, query, w);
    w.found.resize(a.windows * side2);
    for (int s = 0; s < a.windows; ++s) {
      const Placed<T> p = w.places[s] = place(a, query, s);
      if (p.side) window_sums(a, query, p, w);
      for (int within = 0; within < side2; ++within) {
        const int i = within / a.s.ws, j = within % a.s.ws;
        T key = kInfinity;
        if (is_candidate(a, p, i, j)) key = a.s.prod ? -w.sums[i * p.side + j] : w.sums[i * p.side + j];
        w.found[s * side2 + within] = {key == key ? key : kInfinity, s * side2 + within};
      }
    }
    const int kept = a.s.keep ? a.s.keep : length;
    for (int list = 0; list < a.s.lists; ++list) {
      NonlocalCandidate<T>* found = w.found.data() + list * length;
      const int known = known_candidate(a, query, w.places, list);
      const bool removed = a.s.self == Self::kRemove && a.s.keep;
      if (known >= 0) {
        std::swap(found[0], found[known - list * length]);
        if (removed) found[0].key = kInfinity;
      }
      if (a.s.keep) {
        if (removed && known >= 0) std::swap(found[0], found[length - 1]);
        NonlocalCandidate<T>* rest = found + (known >= 0 && !removed);
        NonlocalCandidate<T>* stop = found + length - (known >= 0 && removed);
        if (found + kept < stop) std::nth_element(rest, found + kept, stop);
        std::sort(rest, std::min(found + kept, stop));
      }
      for (int k = 0; k < kept; ++k) {
        const int64_t at = n * a.neighbors + int64_t(list) * kept + k;
        const NonlocalCandidate<T>& c = found[k];
        const int s = c.ordinal / side2, within = c.ordinal % side2;
        distances[at] = a.s.prod ? -c.key : c.key;
        ordinals[at] = c.key < kInfinity ? c.ordinal : -1;
        write_offset(a, query, w.places[s], within, offsets + 3 * at);
        if (c.ordinal == known && a.s.self != Self::kAnchorEach) std::fill_n(offsets + 3 * at, 3, T(0));
      }
    }
  }
}
