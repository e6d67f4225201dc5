// Float32 inverses of small symmetric positive definite matrices by one block of 2 K threads: columns in registers, one
// row published in shared memory a step, one barrier a step.
#pragma once

#include "cuda/approximate.cuh"

namespace vnls {

// Pivots whose steps are written out. The loop over all of them would not fit into the instruction cache; and registers
// cannot be chosen by a number that is not known before, so they move up after every block of pivots.
constexpr int kPivots = 8;

template <int N>
__device__ inline void move_up(float (&values)[N]) {
  float first[kPivots];
#pragma unroll
  for (int i = 0; i < kPivots; ++i) first[i] = values[i];
#pragma unroll
  for (int i = 0; i < N; ++i) values[i] = i + kPivots < N ? values[(i + kPivots) % N] : first[i + kPivots - N];
}

// values -= factor * row, eight of them.
__device__ inline void subtract_row(float* values, const float* row, float factor) {
#pragma unroll
  for (int i = 0; i < kPivots; i += 4) {
    const float4 four = *reinterpret_cast<const float4*>(row + i);
    values[i] = fmaf(-four.x, factor, values[i]);
    values[i + 1] = fmaf(-four.y, factor, values[i + 1]);
    values[i + 2] = fmaf(-four.z, factor, values[i + 2]);
    values[i + 3] = fmaf(-four.w, factor, values[i + 3]);
  }
}

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
  constexpr int kHalf = K / 2, kParts = kHalf / kPivots;
  const HalfColumn<K> at;
#pragma unroll
  for (int i = 0; i < kHalf; i += 4) {
    const float4 four = *reinterpret_cast<const float4*>(m + at.column * stride + at.first + i);
    out[i] = four.x, out[i + 1] = four.y, out[i + 2] = four.z, out[i + 3] = four.w;
  }
#pragma unroll
  for (int i = 0; i < kHalf; ++i) out[i] += at.first + i == at.column ? shift : 0.f;
#pragma unroll 1
  for (int block = 0; block < K / kPivots; ++block) {
    const bool holds_rows = at.half == block / kParts;
    const bool holds_columns = threadIdx.x / 32 == block * kPivots / 16;  // the same for a whole warp
    int part[kParts];                                                     // where the rows of eight registers begin
#pragma unroll
    for (int p = 0; p < kParts; ++p) part[p] = at.first + (p + block) % kParts * kPivots;
#pragma unroll
    for (int j = 0; j < kPivots; ++j) {
      const int k = block * kPivots + j;
      float* row = rows + j % 2 * K;
      if (holds_rows) row[at.column] = out[j];
      __syncthreads();
      const float inverse = approximate_reciprocal(row[k]);
      const bool pivot = at.column == k;
      const float factor = pivot ? -inverse : row[at.column] * inverse;
      if (holds_columns) {
#pragma unroll
        for (int i = 0; i < kHalf; ++i) out[i] = pivot ? 0.f : out[i];
      }
#pragma unroll
      for (int p = 0; p < kParts; ++p) subtract_row(out + p * kPivots, row + part[p], factor);
      if (holds_rows) out[j] = factor;
    }
    move_up(out);
  }
#pragma unroll
  for (int i = 0; i < kHalf; ++i) out[i] = -out[i];
}

// For m + shift I = L L^T: threads K .. 2 K - 1 end with column tid - K of L^-1 in out; the others' out is scratch.
// rows: 2 K floats, 16-byte aligned; pivots: K floats.
template <int K>
__device__ inline void invert_factor_columns(const float* m, int stride, float shift, float* rows, float* pivots,
                                             float (&out)[K]) {
  constexpr int kParts = K / kPivots;
  const int column = threadIdx.x % K;
  const bool of_matrix = threadIdx.x < K;
#pragma unroll
  for (int i = 0; i < K; ++i) {
    const float identity = i == column ? 1.f : 0.f;
    out[i] = of_matrix ? m[i * stride + column] + shift * identity : identity;
  }
#pragma unroll 1
  for (int block = 0; block < kParts; ++block) {
#pragma unroll
    for (int j = 0; j < kPivots; ++j) {
      const int k = block * kPivots + j;
      float* row = rows + j % 2 * K;
      if (of_matrix) row[column] = out[j];
      __syncthreads();
      const float pivot = row[k];
      if (threadIdx.x == k) pivots[k] = approximate_reciprocal_root(pivot);
      const float factor = out[j] * approximate_reciprocal(pivot);
      const float* below = row + block * kPivots;
#pragma unroll
      for (int i = j + 1; i < kPivots; ++i) out[i] = fmaf(-below[i], factor, out[i]);
#pragma unroll
      for (int p = 1; p < kParts; ++p) {
        if (p < kParts - block) subtract_row(out + p * kPivots, below + p * kPivots, factor);
      }
    }
    move_up(out);
  }
  __syncthreads();
#pragma unroll
  for (int i = 0; i < K; ++i) out[i] *= pivots[i];
}

}  // namespace vnls
