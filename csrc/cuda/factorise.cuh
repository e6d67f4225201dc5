// Float32 inverses of small symmetric positive definite matrices by one block of 2 K threads: columns in registers, one
// row published in shared memory a step, one barrier a step.
#pragma once

#include "cuda/approximate.cuh"

namespace vnls {

// The part of the inverse that a thread ends with: half a column. Half-warps take the halves of the same 16 columns, so
// that only one warp holds the column of a pivot.
template <int K>
struct HalfColumn {
  static constexpr int kRows = K / 2;
  int column = threadIdx.x / 32 * 16 + threadIdx.x % 16;
  int half = threadIdx.x / 16 % 2;
  int first = half * kRows;  // row
};

// That part of the inverse of the symmetric m + shift I, into out: the sweep operator, which keeps the matrix
// symmetric, so that a published row serves as the column too. m, rows: 16-byte aligned, as is every row of m; rows: 2
// K floats.
template <int K>
__device__ inline void invert_columns(const float* m, int stride, float shift, float* rows, float (&out)[K / 2]) {
  constexpr int kHalf = K / 2;
  const HalfColumn<K> at;
  const int column = at.column, half = at.half, first = at.first;
#pragma unroll
  for (int i = 0; i < kHalf; i += 4) {
    const float4 four = *reinterpret_cast<const float4*>(m + column * stride + first + i);
    out[i] = four.x, out[i + 1] = four.y, out[i + 2] = four.z, out[i + 3] = four.w;
  }
#pragma unroll
  for (int i = 0; i < kHalf; ++i) out[i] += first + i == column ? shift : 0.f;
#pragma unroll
  for (int k = 0; k < K; ++k) {
    float* row = rows + k % 2 * K;
    if (half == k / kHalf) row[column] = out[k % kHalf];
    __syncthreads();
    const float inverse = approximate_reciprocal(row[k]);
    const bool pivot = column == k;
    const float factor = pivot ? -inverse : row[column] * inverse;
    if (threadIdx.x / 32 == k / 16) {
#pragma unroll
      for (int i = 0; i < kHalf; ++i) out[i] = pivot ? 0.f : out[i];
    }
#pragma unroll
    for (int i = 0; i < kHalf; i += 4) {
      const float4 four = *reinterpret_cast<const float4*>(row + first + i);
      out[i] = fmaf(-four.x, factor, out[i]);
      out[i + 1] = fmaf(-four.y, factor, out[i + 1]);
      out[i + 2] = fmaf(-four.z, factor, out[i + 2]);
      out[i + 3] = fmaf(-four.w, factor, out[i + 3]);
    }
    if (half == k / kHalf) out[k % kHalf] = factor;
  }
#pragma unroll
  for (int i = 0; i < kHalf; ++i) out[i] = -out[i];
}

// For m + shift I = L L^T: threads K .. 2 K - 1 end with column tid - K of L^-1 in out; the others' out is scratch.
// rows: 2 K floats, 16-byte aligned; pivots: K floats.
template <int K>
__device__ inline void invert_factor_columns(const float* m, int stride, float shift, float* rows, float* pivots,
                                             float (&out)[K]) {
  const int column = threadIdx.x % K;
  const bool of_matrix = threadIdx.x < K;
#pragma unroll
  for (int i = 0; i < K; ++i) {
    const float identity = i == column ? 1.f : 0.f;
    out[i] = of_matrix ? m[i * stride + column] + shift * identity : identity;
  }
#pragma unroll
  for (int k = 0; k < K; ++k) {
    float* row = rows + k % 2 * K;
    if (of_matrix) row[column] = out[k];
    __syncthreads();
    const float pivot = row[k];
    if (threadIdx.x == k) pivots[k] = approximate_reciprocal_root(pivot);
    const float factor = out[k] * approximate_reciprocal(pivot);
#pragma unroll
    for (int i = (k + 1) / 4 * 4; i < K; i += 4) {
      const float4 four = *reinterpret_cast<const float4*>(row + i);
      if (i > k) out[i] = fmaf(-four.x, factor, out[i]);
      if (i + 1 > k) out[i + 1] = fmaf(-four.y, factor, out[i + 1]);
      if (i + 2 > k) out[i + 2] = fmaf(-four.z, factor, out[i + 2]);
      if (i + 3 > k) out[i + 3] = fmaf(-four.w, factor, out[i + 3]);
    }
  }
  __syncthreads();
#pragma unroll
  for (int i = 0; i < K; ++i) out[i] *= pivots[i];
}

}  // namespace vnls
