// What both group kernels share: where a block's patches lie, gathering them, the DCT of patch means, adding to the
// sums.
#pragma once

#include "cuda/tensor_core.cuh"
#include "group.h"

namespace vnls {

constexpr float kLargestHalf = 60000.f;

__host__ __device__ constexpr int square_stride(int k) {
  return k + 8;
}  // halves; keeps ldmatrix free of bank conflicts
__host__ __device__ constexpr int padded_pixels(int patch) { return (patch * patch + 15) / 16 * 16; }
__host__ __device__ constexpr int group_stride(int patch) { return padded_pixels(patch) + 8; }  // halves

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
  int* frame;        // [K]
  long long* start;  // [K] offset of the top left pixel in a plane
  int* pixel;        // [padded] offset of a patch's pixel from its top left, -1 in the padding
  float* dct;        // [patch, patch]

  __host__ __device__ Places(SharedLayout& s, int K, int patch)
      : frame(s.take<int>(K)),
        start(s.take<long long>(K)),
        pixel(s.take<int>(padded_pixels(patch))),
        dct(s.take<float>(patch * patch)) {}

  __device__ void fill(const GroupArgs& a, int64_t n, int K) const {
    const int p = a.patch;
    for (int k = threadIdx.x; k < K; k += blockDim.x) {
      const Place place = place_of(a, n, k);
      frame[k] = place.frame;
      start[k] = place.start;
    }
    for (int x = threadIdx.x; x < padded_pixels(p); x += blockDim.x)
      pixel[x] = x < p * p ? x / p * a.width + x % p : -1;
    for (int i = threadIdx.x; i < p * p; i += blockDim.x) {
      const int k = i / p, x = i % p;
      dct[i] = cospif((x + 0.5f) * k / p) * sqrtf((k == 0 ? 1.f : 2.f) / p);
    }
  }
};

// Gathers one channel of a group in units of sigma: rows minus their mean as halves [K, stride], the mean [padded].
// Each thread takes whole pixels. Returns this thread's share of the sum of squares of the centred rows.
template <int K>
__device__ inline float gather_centred(const GroupArgs& a, const Frames<const float>& frames, const Places& places,
                                       int channel, __half* rows, float* mean) {
  const int padded = padded_pixels(a.patch), stride = group_stride(a.patch);
  const long long plane = static_cast<long long>(channel) * a.height * a.width;
  float energy = 0;
  for (int x = threadIdx.x; x < padded; x += blockDim.x) {
    const int pixel = places.pixel[x];
    float value[K], sum = 0;
#pragma unroll
    for (int k = 0; k < K; ++k) {
      value[k] = pixel < 0 ? 0.f : __ldg(frames.data[places.frame[k]] + plane + places.start[k] + pixel) * a.scale;
      sum += value[k];
    }
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

// out = D in D^T, or D^T in D (inverse), for `count` patches, `padded` floats apart. Ends with a barrier.
__device__ inline void transform(const Places& places, int p, bool inverse, int count, const float* in, float* out,
                                 float* between) {
  const int padded = padded_pixels(p), total = count * p * p;
  for (int item = threadIdx.x; item < total; item += blockDim.x) {
    const int c = item / (p * p), i = item / p % p, x = item % p;
    float sum = 0;
    for (int y = 0; y < p; ++y)
      sum = fmaf(inverse ? places.dct[y * p + i] : places.dct[i * p + y], in[c * padded + y * p + x], sum);
    between[c * padded + i * p + x] = sum;
  }
  __syncthreads();
  for (int item = threadIdx.x; item < total; item += blockDim.x) {
    const int c = item / (p * p), i = item / p % p, j = item % p;
    float sum = 0;
    for (int x = 0; x < p; ++x)
      sum = fmaf(between[c * padded + i * p + x], inverse ? places.dct[x * p + j] : places.dct[j * p + x], sum);
    out[c * padded + i * p + j] = sum;
  }
  __syncthreads();
}

// The sum of a value over the block, for every thread, added in a fixed order. scratch: one float a warp. Two barriers.
__device__ inline float block_sum(float value, float* scratch) {
#pragma unroll
  for (int j = 16; j > 0; j >>= 1) value += __shfl_xor_sync(0xffffffffu, value, j);
  __syncthreads();
  if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = value;
  __syncthreads();
  float sum = 0;
  for (int w = 0; w < blockDim.x / 32; ++w) sum += scratch[w];
  return sum;
}

// Adds the changes of two neighbouring 16 x 8 tiles (pixels x .. x + 15 of the warp's 16 patches) to the sums.
__device__ inline void add_changes(const GroupArgs& a, const Places& places, int channel, int first_row, int x,
                                   const float (&change)[2][4], int weight_steps, int lane) {
  const long long plane = static_cast<long long>(channel) * a.height * a.width;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = first_row + lane / 4 + half * 8;
    long long* to = a.sums.data[places.frame[row]] + plane + places.start[row];
#pragma unroll
    for (int tile = 0; tile < 2; ++tile) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int pixel = places.pixel[x + tile * 8 + lane % 4 * 2 + i];
        if (pixel < 0) continue;
        const long long packed = pack_change(change[tile][half * 2 + i], weight_steps);
        atomicAdd(reinterpret_cast<unsigned long long*>(to + pixel), static_cast<unsigned long long>(packed));
      }
    }
  }
}

}  // namespace vnls
