// Body of the CPU search; included once an instruction set by search.cpp (isa.h), inside a namespace.

template <typename T>
struct Candidate {
  T distance;
  int ordinal;  // place in the order (t, y, x), which breaks ties
  bool operator<(const Candidate& other) const {
    return distance < other.distance || (distance == other.distance && ordinal < other.ordinal);
  }
};

template <typename T>
struct SearchScratch {
  std::vector<T> query, tile;
  std::vector<Candidate<T>> candidates;
  Window windows[kMaxFrames];
  int first[kMaxFrames];  // ordinal of a window's first candidate
};

// Distances of one row of up to `kLanes` neighbouring candidates at once: lanes run over candidates, so that every
// lane adds its patch in raster order, the same order as on a GPU.
template <typename T>
void row_distances(const T* query, const T* tile, int stride, int patch, T* out) {
  constexpr int kLanes = 64 / sizeof(T);
  typedef T Lanes __attribute__((vector_size(64), aligned(sizeof(T))));
  Lanes sum = {};
  for (int y = 0; y < patch; ++y) {
    for (int x = 0; x < patch; ++x) {
      const Lanes difference = *reinterpret_cast<const Lanes*>(tile + y * stride + x) - query[y * patch + x];
      sum += difference * difference;
    }
  }
  for (int i = 0; i < kLanes; ++i) out[i] = sum[i];
}

template <typename T>
void search_window(const SearchArgs<T>& a, int frame, const Window& window, int first, SearchScratch<T>& scratch) {
  constexpr int kLanes = 64 / sizeof(T);
  const int rows = window.height + a.patch - 1, columns = window.width + a.patch - 1;
  const int stride = columns + kLanes;  // a vector may read past the last candidate, into this padding
  scratch.tile.resize(static_cast<size_t>(rows) * stride);
  for (int y = 0; y < rows; ++y) {
    const T* from = a.guide.data[frame] + static_cast<int64_t>(window.y + y) * a.width + window.x;
    std::copy(from, from + columns, scratch.tile.data() + y * stride);
  }
  T distances[kLanes];
  int ordinal = first;
  for (int y = 0; y < window.height; ++y) {
    for (int x = 0; x < window.width; x += kLanes) {
      row_distances(scratch.query.data(), scratch.tile.data() + y * stride + x, stride, a.patch, distances);
      const int lanes = std::min(kLanes, window.width - x);
      for (int i = 0; i < lanes; ++i) {
        const bool ordered = distances[i] == distances[i];  // NaN goes last
        scratch.candidates.push_back({ordered ? distances[i] : std::numeric_limits<T>::infinity(), ordinal++});
      }
    }
  }
}

template <typename T>
void search_queries(const SearchArgs<T>& a, int64_t begin, int64_t end) {
  SearchScratch<T> scratch;
  scratch.query.resize(a.patch * a.patch);
  for (int64_t n = begin; n < end; ++n) {
    const Point query = clamp_query(a.queries + 2 * n, a.patch, a.height, a.width);
    for (int y = 0; y < a.patch; ++y) {
      const T* from = a.guide.data[a.own] + static_cast<int64_t>(query.y + y) * a.width + query.x;
      std::copy(from, from + a.patch, scratch.query.data() + y * a.patch);
    }
    scratch.candidates.clear();
    int ordinal = 0;
    for (int f = 0; f < a.guide.count; ++f) {
      const int* centre = a.centres + (n * a.guide.count + f) * 2;
      const int side = f == a.own ? a.side : a.side_other;
      scratch.windows[f] = place_window({centre[0], centre[1]}, side, a.patch, a.height, a.width);
      scratch.first[f] = ordinal;
      search_window(a, f, scratch.windows[f], ordinal, scratch);
      ordinal += scratch.windows[f].height * scratch.windows[f].width;
    }
    auto& found = scratch.candidates;
    const int self = ordinal_in(scratch.windows[a.own], query);
    if (self >= 0) found[scratch.first[a.own] + self].distance = -1;  // the query itself is the first of its group
    const int kept = std::min<int>(a.neighbors, static_cast<int>(found.size()));
    if (kept < static_cast<int>(found.size())) std::nth_element(found.begin(), found.begin() + kept - 1, found.end());
    std::sort(found.begin(), found.begin() + kept);
    if (self >= 0) found[0].distance = 0;
    for (int k = 0; k < a.neighbors; ++k) {
      const Candidate<T>& candidate = found[k % kept];
      int f = a.guide.count - 1;
      while (candidate.ordinal < scratch.first[f]) --f;
      const int within = candidate.ordinal - scratch.first[f];
      a.distances[n * a.neighbors + k] = candidate.distance;
      int* offset = a.offsets + (n * a.neighbors + k) * 3;
      offset[0] = f - a.own;
      offset[1] = scratch.windows[f].y + within / scratch.windows[f].width - query.y;
      offset[2] = scratch.windows[f].x + within % scratch.windows[f].width - query.x;
    }
  }
}
