// What both group kernels share: where a block's patches lie, gathering them, the DCT of patch means, adding to the
// sums.
#pragma once

#include "cuda/launch.h"
#include "cuda/tensor_core.cuh"
#include "group.h"

namespace vnls {

constexpr float kLargestHalf = 60000.f;

__host__ __device__ constexpr int square_stride(int k) {
  return k + 8;
}  // halves; keeps ldmatrix free of bank conflicts
__host__ __device__ constexpr int padded_pixels(int patch) { return (patch * patch + 15) / 16 * 16; }
__host__ __device__ constexpr int group_stride(int patch) { return padded_pixels(patch) + 8; }  // halves

// Channels are filtered in sets: the first alone, then the others together.
__host__ __device__ constexpr int largest_set(int channels) { return channels > 1 ? channels - 1 : 1; }
__host__ __device__ constexpr int larger(int a, int b) { return a > b ? a : b; }

// Hands out pieces of a block's dynamic shared memory, 16-byte aligned; with a null base it only counts.
struct SharedLayout {
  unsigned char* base;
  size_t used = 0;

  template <typename T>
  __host__ __device__ T* take(size_t count) {
    T* p = reinterpret_cast<T*>(base + used);
    used += (count * sizeof(T) + 15) / 16 * 16;
    return p;
  }
};

// Where a group's patches lie.
struct Places {
  const float **noisy, **basic;  // [K] top left pixel in the first channel, basic in step 2 alone
  long long** sums;              // [K] the same in the sums
  int* pixel;                    // [padded] offset of a patch's pixel from its top left, -1 in the padding
  float* dct;                    // [patch, patch]
  unsigned by_patch;             // divides by the patch's side, see rows_of

  __host__ __device__ Places(SharedLayout& s, int K, int patch)
      : noisy(s.take<const float*>(K)),
        basic(s.take<const float*>(K)),
        sums(s.take<long long*>(K)),
        pixel(s.take<int>(padded_pixels(patch))),
        dct(s.take<float>(patch * patch)),
        by_patch((65536 + patch - 1) / patch) {}

  // item / patch for items below 4096.
  __device__ int rows_of(int item) const { return static_cast<int>(item * by_patch >> 16); }

  __device__ void fill(const GroupArgs& a, int64_t n, int K, int p) const {
    for (int k = threadIdx.x; k < K; k += blockDim.x) {
      const Place place = place_of(a, n, k);
      noisy[k] = a.noisy.data[place.frame] + place.start;
      if (a.basic.count > 0) basic[k] = a.basic.data[place.frame] + place.start;
      sums[k] = a.sums.data[place.frame] + place.start;
    }
    for (int x = threadIdx.x; x < padded_pixels(p); x += blockDim.x) {
      const int row = rows_of(x);
      pixel[x] = row < p ? row * a.width + x - row * p : -1;
    }
    for (int i = threadIdx.x; i < p * p; i += blockDim.x) {
      const int k = rows_of(i), x = i - k * p;
      dct[i] = cospif((x + 0.5f) * k / p) * sqrtf((k == 0 ? 1.f : 2.f) / p);
    }
  }
};

// Gathers one channel of a group in units of sigma: rows minus their mean as halves [K, stride], the mean [padded].
// Each thread takes whole pixels. Returns this thread's share of the sum of squares of the centred rows.
// from: [K], 16-byte aligned.
template <int K>
__device__ inline float gather_centred(const GroupArgs& a, int patch, const float* const* from, const Places& places,
                                       int channel, __half* rows, float* mean) {
  const int padded = padded_pixels(patch), stride = group_stride(patch);
  const long long plane = static_cast<long long>(channel) * a.height * a.width;
  const ulonglong2* pairs = reinterpret_cast<const ulonglong2*>(from);
  float energy = 0;
  for (int x = threadIdx.x; x < padded; x += blockDim.x) {
    const int pixel = places.pixel[x];
    const long long at = plane + pixel;
    float value[K], sum = 0;
#pragma unroll
    for (int k = 0; k < K; k += 2) {
      const ulonglong2 pair = pairs[k / 2];
      value[k] = pixel < 0 ? 0.f : __ldg(reinterpret_cast<const float*>(pair.x) + at);
      value[k + 1] = pixel < 0 ? 0.f : __ldg(reinterpret_cast<const float*>(pair.y) + at);
    }
#pragma unroll
    for (int k = 0; k < K; ++k) sum += value[k] *= a.scale;
    const float middle = sum / K;
    mean[x] = middle;
#pragma unroll
    for (int k = 0; k < K; ++k) {
      const float centred = fminf(fmaxf(value[k] - middle, -kLargestHalf), kLargestHalf);
      energy = fmaf(centred, centred, energy);
      rows[k * stride + x] = __float2half_rn(centred);
    }
  }
  return energy;
}

// out = D in D^T, or D^T in D (inverse), for `count` patches, `padded` floats apart; out may be in. Ends with a
// barrier.
template <bool kInverse>
__device__ inline void transform(const Places& places, int p, int count, const float* in, float* out, float* between) {
  const int padded = padded_pixels(p), total = count * p * p;
  const int along = kInverse ? p : 1, across = kInverse ? 1 : p;  // steps of the sum and of the result in D
  for (int item = threadIdx.x; item < total; item += blockDim.x) {
    const int row = places.rows_of(item), c = places.rows_of(row), i = row - c * p, x = item - row * p;
    const float *basis = places.dct + i * across, *column = in + c * padded + x;
    float sum = 0;
    for (int y = 0; y < p; ++y) sum = fmaf(basis[y * along], column[y * p], sum);
    between[item] = sum;
  }
  __syncthreads();
  for (int item = threadIdx.x; item < total; item += blockDim.x) {
    const int row = places.rows_of(item), c = places.rows_of(row), j = item - row * p;
    const float *basis = places.dct + j * across, *line = between + row * p;
    float sum = 0;
    for (int x = 0; x < p; ++x) sum = fmaf(line[x], basis[x * along], sum);
    out[c * padded + item - c * p * p] = sum;
  }
  __syncthreads();
}

// What filtered means differ by from those before, in place; 0 in the padding. Ends with a barrier.
__device__ inline void mean_changes(int p, int count, float* filtered, const float* before) {
  const int padded = padded_pixels(p), d = p * p;
#pragma unroll 1
  for (int c = 0; c < count; ++c)
    for (int x = threadIdx.x; x < padded; x += blockDim.x) {
      float& change = filtered[c * padded + x];
      change = x < d ? change - before[c * padded + x] : 0.f;
    }
  __syncthreads();
}

// The sum of a value over a block of 2 K threads, for every thread, added in a fixed order. scratch: one float a warp.
// Two barriers.
template <int K>
__device__ inline float block_sum(float value, float* scratch) {
#pragma unroll
  for (int j = 16; j > 0; j >>= 1) value += __shfl_xor_sync(0xffffffffu, value, j);
  __syncthreads();
  if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = value;
  __syncthreads();
  float sum = 0;
#pragma unroll
  for (int w = 0; w < K / 16; ++w) sum += scratch[w];
  return sum;
}

// The sums of one channel that a lane adds to: of the warp's 16 patches, those at lane / 4 and 8 further down.
struct LaneSums {
  unsigned long long patch[2];  // addresses in device memory

  __device__ LaneSums(const GroupArgs& a, const Places& places, int channel, int first_row, int lane) {
    const long long plane = static_cast<long long>(channel) * a.height * a.width;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      patch[half] = __cvta_generic_to_global(places.sums[first_row + lane / 4 + half * 8] + plane);
    }
  }

  // Adds, and goes on: through a pointer that may be to shared memory as well, as the compiler has it, every addition
  // would be waited for.
  __device__ void add(int half, int pixel, long long value) const {
    const unsigned bytes = pixel * sizeof(value);
    asm volatile(
        "{ .reg .u64 at; cvt.u64.u32 at, %1; add.u64 at, at, %0; red.relaxed.gpu.global.add.u64 [at], %2; }" ::"l"(
            patch[half]),
        "r"(bytes), "l"(value));
  }
};

// Adds the changes of two neighbouring 16 x 8 tiles (pixels x .. x + 15 of the warp's 16 patches) to the sums.
__device__ inline void add_changes(const LaneSums& sums, const Places& places, int p, int x,
                                   const float (&change)[2][4], int weight_steps, int lane) {
  const bool has_padding = padded_pixels(p) != p * p;
  // Of a row's eight pixels four lanes hold two each. They change hands, so that four lanes add to four neighbours,
  // which the memory takes as one sector: first pixels 0 2 1 3, then 4 6 5 7.
  const bool upper = lane % 4 >= 2;
  const int mine = lane % 4 * 2 - (upper ? 3 : 0);
#pragma unroll
  for (int tile = 0; tile < 2; ++tile) {
    float mine_of[2][2];  // [part][half]
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float even = change[tile][half * 2], odd = change[tile][half * 2 + 1];
      const float other = __shfl_xor_sync(0xffffffffu, upper ? even : odd, 2);
      mine_of[0][half] = upper ? other : even;
      mine_of[1][half] = upper ? odd : other;
    }
#pragma unroll
    for (int part = 0; part < 2; ++part) {
      const int pixel = places.pixel[x + tile * 8 + part * 4 + mine];
      if (has_padding && pixel < 0) continue;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        sums.add(half, pixel, pack_change(mine_of[part][half], weight_steps));
      }
    }
  }
}

// A block of 2 K threads for each group; Shared: what lies in its shared memory.
template <int K, typename Shared, typename Parameters>
void launch_groups(void (*kernel)(GroupArgs, Parameters), const GroupArgs& a, const Parameters& parameters,
                   cudaStream_t stream) {
  SharedLayout layout{nullptr};
  Shared(layout, a.patch, a.channels);
  const int bytes = static_cast<int>(layout.used);
  allow_shared(kernel, bytes);
  kernel<<<static_cast<unsigned>(a.count), 2 * K, bytes, stream>>>(a, parameters);
}

}  // namespace vnls
