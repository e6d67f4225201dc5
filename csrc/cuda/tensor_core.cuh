// Products of small half-precision matrices in shared memory by tensor cores (mma m16n8k16, float32 accumulation).
//
// A block of K / 16 warps works on K x K matrices: each warp holds a slab, 16 rows of K columns, in registers.
#pragma once

#include <cuda_fp16.h>

#include <cstdint>

namespace vnls {

using Fragment = uint32_t[4];  // a 16 x 16 tile of a left operand, or two 16 x 8 tiles of a right operand

__device__ inline uint32_t shared_address(const void* p) { return static_cast<uint32_t>(__cvta_generic_to_shared(p)); }

__device__ inline void load_matrix(Fragment& f, const __half* p) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(f[0]), "=r"(f[1]), "=r"(f[2]), "=r"(f[3])
               : "r"(shared_address(p)));
}

__device__ inline void load_matrix_transposed(Fragment& f, const __half* p) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(f[0]), "=r"(f[1]), "=r"(f[2]), "=r"(f[3])
               : "r"(shared_address(p)));
}

__device__ inline void multiply(float (&c)[4], const Fragment& a, uint32_t b0, uint32_t b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// The same of eight columns of the left operand.
__device__ inline void multiply_half(float (&c)[4], uint32_t a0, uint32_t a1, uint32_t b) {
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a0), "r"(a1), "r"(b));
}

__device__ inline uint32_t pack(float low, float high) {
  const __half2 h = __floats2half2_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&h);
}

__device__ inline uint4 pack_eight(const float (&v)[8]) {
  return {pack(v[0], v[1]), pack(v[2], v[3]), pack(v[4], v[5]), pack(v[6], v[7])};
}

// The tile at (row, column) of a row-major matrix as left operand.
__device__ inline void load_left(Fragment& f, const __half* m, int stride, int row, int column, int lane) {
  load_matrix(f, m + (row + lane % 16) * stride + column + lane / 16 * 8);
}

// Rows k .. k+15, columns n .. n+15 of a row-major matrix as right operand: f[0], f[1] for n, f[2], f[3] for n + 8.
__device__ inline void load_right(Fragment& f, const __half* m, int stride, int k, int n, int lane) {
  load_matrix_transposed(f, m + (k + lane % 16) * stride + n + lane / 16 * 8);
}

// The same of the transpose of a row-major matrix (or of a symmetric one): its rows n .. n+15, columns k .. k+15.
__device__ inline void load_right_of_transpose(Fragment& f, const __half* m, int stride, int k, int n, int lane) {
  load_matrix(f, m + (n + lane / 16 * 8 + lane % 8) * stride + k + lane / 8 % 2 * 8);
}

// 16 rows of a K-column matrix in registers: value[j] is the 16 x 8 tile at column 8 j. A lane holds rows
// lane / 4 (+ 8 for its last two values), columns lane % 4 * 2 (+ 1).
template <int K>
struct Slab {
  float value[K / 8][4];

  __device__ void clear() {
#pragma unroll
    for (int j = 0; j < K / 8; ++j)
#pragma unroll
      for (int i = 0; i < 4; ++i) value[j][i] = 0;
  }

  // f(value, row, column), row counted from the first of the whole matrix.
  template <typename F>
  __device__ void for_each(int first_row, int lane, F&& f) {
#pragma unroll
    for (int j = 0; j < K / 8; ++j)
#pragma unroll
      for (int i = 0; i < 4; ++i) f(value[j][i], first_row + lane / 4 + i / 2 * 8, j * 8 + lane % 4 * 2 + i % 2);
  }

  __device__ void store(__half* m, int stride, int first_row, int lane) const {
#pragma unroll
    for (int j = 0; j < K / 8; ++j) {
      __half* p = m + (first_row + lane / 4) * stride + j * 8 + lane % 4 * 2;
      *reinterpret_cast<uint32_t*>(p) = pack(value[j][0], value[j][1]);
      *reinterpret_cast<uint32_t*>(p + 8 * stride) = pack(value[j][2], value[j][3]);
    }
  }
};

// A slab rounded to half precision, as left operand.
template <int K>
struct LeftSlab {
  Fragment tile[K / 16];

  __device__ explicit LeftSlab(const Slab<K>& s) {
#pragma unroll
    for (int k = 0; k < K / 16; ++k) {
      tile[k][0] = pack(s.value[2 * k][0], s.value[2 * k][1]);
      tile[k][1] = pack(s.value[2 * k][2], s.value[2 * k][3]);
      tile[k][2] = pack(s.value[2 * k + 1][0], s.value[2 * k + 1][1]);
      tile[k][3] = pack(s.value[2 * k + 1][2], s.value[2 * k + 1][3]);
    }
  }

  __device__ LeftSlab(const __half* m, int stride, int first_row, int lane) {
#pragma unroll
    for (int k = 0; k < K / 16; ++k) load_left(tile[k], m, stride, first_row, 16 * k, lane);
  }
};

// slab = left * m, m a K x K matrix; a symmetric one is read by rows, without transposing.
template <int K, bool kSymmetric>
__device__ inline void multiply_matrix(Slab<K>& slab, const LeftSlab<K>& left, const __half* m, int stride, int lane) {
  slab.clear();
#pragma unroll
  for (int n = 0; n < K / 16; ++n) {
#pragma unroll
    for (int k = 0; k < K / 16; ++k) {
      Fragment right;
      if constexpr (kSymmetric) {
        load_right_of_transpose(right, m, stride, 16 * k, 16 * n, lane);
      } else {
        load_right(right, m, stride, 16 * k, 16 * n, lane);
      }
      multiply(slab.value[2 * n], left.tile[k], right[0], right[1]);
      multiply(slab.value[2 * n + 1], left.tile[k], right[2], right[3]);
    }
  }
}

template <int K>
__device__ inline void multiply_symmetric(Slab<K>& slab, const LeftSlab<K>& left, const __half* m, int stride,
                                          int lane) {
  multiply_matrix<K, true>(slab, left, m, stride, lane);
}

// slab += a b^T over `depth` columns (a multiple of 16) of two row-major matrices of K rows.
template <int K>
__device__ inline void add_outer(Slab<K>& slab, const __half* a, const __half* b, int stride, int depth, int first_row,
                                 int lane) {
  for (int k = 0; k < depth; k += 16) {
    Fragment left;
    load_left(left, a, stride, first_row, k, lane);
#pragma unroll
    for (int n = 0; n < K / 16; ++n) {
      Fragment right;
      load_right_of_transpose(right, b, stride, k, 16 * n, lane);
      multiply(slab.value[2 * n], left, right[0], right[1]);
      multiply(slab.value[2 * n + 1], left, right[2], right[3]);
    }
  }
}

// Columns n .. n+15 of left * m, m a row-major matrix of K rows: out[0] at n, out[1] at n + 8.
template <int K>
__device__ inline void multiply_columns(float (&out)[2][4], const LeftSlab<K>& left, const __half* m, int stride, int n,
                                        int lane) {
#pragma unroll
  for (int i = 0; i < 4; ++i) out[0][i] = out[1][i] = 0;
#pragma unroll
  for (int k = 0; k < K / 16; ++k) {
    Fragment right;
    load_right(right, m, stride, 16 * k, n, lane);
    multiply(out[0], left.tile[k], right[0], right[1]);
    multiply(out[1], left.tile[k], right[2], right[3]);
  }
}

}  // namespace vnls
