// What the CUDA kernels of the non-local search share: the windows of a query in shared memory, the lists of the best.
#pragma once

#include "cuda/launch.h"
#include "cuda/nearest.cuh"
#include "nonlocal.h"

namespace vnls {

template <typename T>
struct NonlocalLists {
  T* distances;
  T* offsets;
  int* ordinals;
};

// Places all windows of a query, a lane each.
template <typename T>
__device__ void place_windows(const NonlocalArgs<T>& a, const NonlocalQuery& query, Placed<T>* places, int lane) {
  for (int s = lane; s < a.windows; s += kWarp) places[s] = place(a, query, s);
  __syncwarp();
}

// The known candidate of a list, -1 where it has none. place_of(window) places a window.
template <typename T, typename PlaceOf>
__device__ int known_candidate(const NonlocalArgs<T>& a, const NonlocalQuery& query, int list, PlaceOf&& place_of) {
  if (a.s.self == Self::kNone) return -1;
  if (a.s.self == Self::kAnchorEach) {
    const Placed<T> p = place_of(list);
    return p.side ? list * a.side2() + p.start_y * a.s.ws + p.start_x : -1;
  }
  T best = T(1e30);
  int known = -1;
  for (int s = 0; s < a.windows; ++s) {
    int within;
    const Placed<T> p = place_of(s);
    if (!p.side) continue;
    const T distance = nearest_to_self(a, query, p, within);
    if (distance < best) best = distance, known = s * a.side2() + within;
  }
  return a.s.lists == 1 || known / a.side2() == list ? known : -1;
}

template <typename T>
__device__ void write_neighbor(const NonlocalArgs<T>& a, const NonlocalQuery& query, const Placed<T>& p,
                               const NonlocalLists<T>& out, int64_t at, T key, int ordinal, bool is_self) {
  const bool exists = key < T(INFINITY);
  out.distances[at] = a.s.prod ? -key : key;
  out.ordinals[at] = exists ? ordinal : -1;
  T offset[3];
  write_offset(a, query, p, ordinal % a.side2(), offset);
#pragma unroll
  for (int i = 0; i < 3; ++i) out.offsets[3 * at + i] = is_self ? T(0) : offset[i];
}

// Fills the lists of one query. scan(first window, windows, known candidate, offer) must call offer(ordinal, key) on
// all lanes together, once for every candidate of those windows, with ordinal < 0 on lanes that have none. It may leave
// out those that are farther than what the last call returned, the worst key of the list, no number while it is not
// full.
template <int kSlots, typename T, typename Scan>
__device__ void fill_lists(const NonlocalArgs<T>& a, const NonlocalQuery& query, const Placed<T>* places,
                           const NonlocalLists<T>& out, int64_t n, int lane, Scan&& scan) {
  constexpr int kCapacity = kSlots * kWarp;
  const int windows = a.windows / a.s.lists, length = windows * a.side2();
  const int kept = a.s.keep ? a.s.keep : length;
  for (int list = 0; list < a.s.lists; ++list) {
    const int known = known_candidate(a, query, list, [&](int s) { return places[s]; });
    const bool is_self = a.s.self != Self::kAnchorEach;
    const int64_t first = n * a.neighbors + int64_t(list) * kept;
    const bool leads = a.s.keep && known >= 0 && a.s.self != Self::kRemove;
    const int wanted = a.s.keep - leads, base = list * length;
    T known_key = T(INFINITY);
    Rank<T> bound = Rank<T>::least();
    Nearest<T, kSlots> nearest;
    int done = 0;
    do {  // once, unless more are wanted than the registers hold: then again for those behind the last
      const int now = wanted - done < kCapacity ? wanted - done : kCapacity;
      nearest.clear();
      T worst = nearest.worst.key();
      scan(list * windows, windows, known, [&](int ordinal, T key) {
        if (!a.s.keep) {  // every candidate in its place, but for the known one, which changes places with the first
          if (ordinal < 0) return worst;
          const int to = known < 0 ? ordinal : (ordinal == known ? base : (ordinal == base ? known : ordinal));
          write_neighbor(a, query, places[ordinal / a.side2()], out, first + to - base, key, ordinal,
                         is_self && ordinal == known);
          return worst;
        }
        if (ordinal >= 0 && ordinal == known) known_key = key;
        // Most are too far, which shows without their ranks; the worst of an unfilled list is no number.
        const bool wanted = ordinal >= 0 && ordinal != known && !(worst < key);
        if (!__any_sync(kWholeWarp, wanted)) return worst;
        Rank<T> rank = Rank<T>::none();
        if (wanted) rank = Rank<T>::of(key, ordinal);
        if (!(bound < rank)) rank = Rank<T>::none();
        nearest.insert(rank, lane, now - 1);
        return worst = nearest.worst.key();
      });
      for (int start = 0; start < now; start += kWarp) {
        const int k = start + lane;
        const Rank<T> rank = nearest.at(start / kWarp);
        if (k < now) {
          write_neighbor(a, query, places[rank.ordinal() / a.side2()], out, first + leads + done + k, rank.key(),
                         rank.ordinal(), false);
        }
      }
      bound = nearest.last();
      done += now;
    } while (done < wanted);
    if (leads) {
#pragma unroll
      for (int mask = kWarp / 2; mask > 0; mask >>= 1) {  // the lane that met it has the least, all others infinity
        const T other = __shfl_xor_sync(kWholeWarp, known_key, mask);
        known_key = other < known_key ? other : known_key;
      }
      if (lane == 0) {
        write_neighbor(a, query, places[known / a.side2()], out, first, known_key, known, is_self);
      }
    }
  }
}

}  // namespace vnls
