// The nearest candidates that a warp has seen, in its registers, sorted across its lanes.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace vnls {

constexpr unsigned kWholeWarp = 0xffffffffu;
constexpr int kWarp = 32;

// What a candidate is sorted by: its distance, then its place in the order of candidates.
template <typename T>
struct Rank;

template <>
struct Rank<float> {
  unsigned long long bits;

  __device__ static Rank none() { return {~0ull}; }
  __device__ static Rank least() { return {0}; }

  // `key` is no NaN. Negative numbers order by their complement.
  __device__ static Rank of(float key, int ordinal) {
    const unsigned raw = __float_as_uint(key + 0.f);
    const unsigned sortable = raw & 0x80000000u ? ~raw : raw | 0x80000000u;
    return {(static_cast<unsigned long long>(sortable) << 32) | static_cast<unsigned>(ordinal + 1)};
  }
  __device__ float key() const {
    const unsigned sortable = static_cast<unsigned>(bits >> 32);
    return __uint_as_float(sortable & 0x80000000u ? sortable & 0x7fffffffu : ~sortable);
  }
  __device__ int ordinal() const { return static_cast<int>(static_cast<unsigned>(bits)) - 1; }
  __device__ bool operator<(const Rank& other) const { return bits < other.bits; }
  __device__ Rank xor_lane(int mask) const { return {__shfl_xor_sync(kWholeWarp, bits, mask)}; }
  __device__ Rank from_lane(int lane) const { return {__shfl_sync(kWholeWarp, bits, lane)}; }
  __device__ Rank from_below() const { return {__shfl_up_sync(kWholeWarp, bits, 1)}; }
};

template <>
struct Rank<double> {
  double value;
  int place;

  __device__ static Rank none() { return {__longlong_as_double(0x7ff0000000000000ll), 0x7fffffff}; }
  __device__ static Rank least() { return {__longlong_as_double(static_cast<long long>(0xfff0000000000000ull)), -1}; }
  __device__ static Rank of(double key, int ordinal) { return {key, ordinal}; }
  __device__ double key() const { return value; }
  __device__ int ordinal() const { return place; }
  __device__ bool operator<(const Rank& other) const {
    return value < other.value || (value == other.value && place < other.place);
  }
  __device__ Rank xor_lane(int mask) const {
    return {__shfl_xor_sync(kWholeWarp, value, mask), __shfl_xor_sync(kWholeWarp, place, mask)};
  }
  __device__ Rank from_lane(int lane) const {
    return {__shfl_sync(kWholeWarp, value, lane), __shfl_sync(kWholeWarp, place, lane)};
  }
  __device__ Rank from_below() const {
    return {__shfl_up_sync(kWholeWarp, value, 1), __shfl_up_sync(kWholeWarp, place, 1)};
  }
};

// The kSlots * 32 least ranks seen, ascending by (slot, lane).
template <typename T, int kSlots>
struct Nearest {
  Rank<T> kept[kSlots];
  Rank<T> worst;  // of those that are wanted, on every lane

  __device__ void clear() {
#pragma unroll
    for (int s = 0; s < kSlots; ++s) kept[s] = Rank<T>::none();
    worst = Rank<T>::none();
  }

  // Sorts a bitonic sequence of one rank a lane.
  __device__ static Rank<T> merge(Rank<T> mine, int lane) {
#pragma unroll
    for (int j = kWarp / 2; j > 0; j >>= 1) {
      const Rank<T> other = mine.xor_lane(j);
      mine = (other < mine) == ((lane & j) == 0) ? other : mine;
    }
    return mine;
  }

  __device__ static Rank<T> sort(Rank<T> mine, int lane) {
#pragma unroll
    for (int k = 2; k <= kWarp; k <<= 1) {
#pragma unroll
      for (int j = k / 2; j > 0; j >>= 1) {
        const Rank<T> other = mine.xor_lane(j);
        const bool wants_less = ((lane & k) == 0) == ((lane & j) == 0);
        mine = (other < mine) == wants_less ? other : mine;
      }
    }
    return mine;
  }

  // One rank of every lane; all lanes of the warp call it together. Only those up to place `last` are wanted.
  __device__ void insert(Rank<T> rank, int lane, int last) {
    constexpr int kFew = 8;  // sorting a whole warp's ranks and merging them in costs as much as putting in so many
    unsigned better = __ballot_sync(kWholeWarp, rank < worst);
    if (!better) return;
    if (__popc(better) > kFew) {
      insert_all(rank, lane);
    } else {
      for (; better; better &= better - 1) insert_one(rank.from_lane(__ffs(better) - 1), lane);
    }
    worst = place(last);
  }

  __device__ void insert_all(Rank<T> rank, int lane) {
    rank = sort(rank, lane);
#pragma unroll
    for (int s = 0; s < kSlots; ++s) {
      const Rank<T> reversed = rank.from_lane(kWarp - 1 - lane);
      const bool less = reversed < kept[s];
      const Rank<T> low = less ? reversed : kept[s], high = less ? kept[s] : reversed;
      kept[s] = merge(low, lane);
      if (s + 1 < kSlots) rank = merge(high, lane);
    }
  }

  // `rank` is the same on every lane: what is greater moves up by a place.
  __device__ void insert_one(Rank<T> rank, int lane) {
    Rank<T> last_of_slot_before = rank;
#pragma unroll
    for (int s = 0; s < kSlots; ++s) {
      Rank<T> below = kept[s].from_below();
      if (lane == 0) below = last_of_slot_before;
      if (s + 1 < kSlots) last_of_slot_before = kept[s].from_lane(kWarp - 1);
      if (rank < kept[s]) kept[s] = rank < below ? below : rank;
    }
  }

  // The rank at a place of the whole list, on every lane.
  __device__ Rank<T> place(int at) const {
    Rank<T> found = kept[0].from_lane(at % kWarp);
#pragma unroll
    for (int s = 1; s < kSlots; ++s) {
      const Rank<T> candidate = kept[s].from_lane(at % kWarp);
      if (at / kWarp == s) found = candidate;
    }
    return found;
  }

  // What this lane holds of a slot.
  __device__ Rank<T> at(int slot) const {
    Rank<T> found = kept[0];
#pragma unroll
    for (int s = 1; s < kSlots; ++s) {
      if (slot == s) found = kept[s];
    }
    return found;
  }

  __device__ Rank<T> last() const { return kept[kSlots - 1].from_lane(kWarp - 1); }
};

}  // namespace vnls
