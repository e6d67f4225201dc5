// Small dense matrices of one group, row-major, sides multiples of the vector; included once an instruction set
// (isa.h) by group_kernel.h, inside a namespace.

typedef float Vector __attribute__((vector_size(kVectorBytes), aligned(kVectorBytes)));
typedef float Unaligned __attribute__((vector_size(kVectorBytes), aligned(4)));
constexpr int kLanes = kVectorBytes / 4;

inline Vector load(const float* p) { return *reinterpret_cast<const Vector*>(p); }
inline void store(float* p, Vector v) { *reinterpret_cast<Vector*>(p) = v; }

constexpr int kRowBlock = kVectorBytes == 64 ? 8 : 4;

template <int kColumns>
inline void product_tile(int depth, const float* a, int lda, const float* b, int ldb, float* c, int ldc, bool add) {
  Vector sum[kRowBlock][kColumns];
  for (int r = 0; r < kRowBlock; ++r)
    for (int j = 0; j < kColumns; ++j) sum[r][j] = add ? load(c + r * ldc + j * kLanes) : Vector{};
  for (int k = 0; k < depth; ++k) {
    Vector right[kColumns];
    for (int j = 0; j < kColumns; ++j) right[j] = load(b + k * ldb + j * kLanes);
    for (int r = 0; r < kRowBlock; ++r)
      for (int j = 0; j < kColumns; ++j) sum[r][j] += a[r * lda + k] * right[j];
  }
  for (int r = 0; r < kRowBlock; ++r)
    for (int j = 0; j < kColumns; ++j) store(c + r * ldc + j * kLanes, sum[r][j]);
}

// c = a b, or c += a b: a [rows, depth], b [depth, columns].
inline void product(int rows, int columns, int depth, const float* a, int lda, const float* b, int ldb, float* c,
                    int ldc, bool add = false) {
  for (int i = 0; i < rows; i += kRowBlock) {
    int j = 0;
    for (; j + 2 * kLanes <= columns; j += 2 * kLanes)
      product_tile<2>(depth, a + i * lda, lda, b + j, ldb, c + i * ldc + j, ldc, add);
    for (; j < columns; j += kLanes) product_tile<1>(depth, a + i * lda, lda, b + j, ldb, c + i * ldc + j, ldc, add);
  }
}

inline void transpose(int rows, int columns, const float* a, int lda, float* out, int ldo) {
  for (int i = 0; i < rows; i += 8)
    for (int j = 0; j < columns; j += 8)
      for (int x = 0; x < 8; ++x)
        for (int y = 0; y < 8; ++y) out[(j + x) * ldo + i + y] = a[(i + y) * lda + j + x];
}

inline float sum_of_squares(int n, const float* a) {
  Vector sum = {};
  for (int i = 0; i < n; i += kLanes) sum += load(a + i) * load(a + i);
  float total = 0;
  for (int i = 0; i < kLanes; ++i) total += sum[i];
  return total;
}

typedef int Indices __attribute__((vector_size(kVectorBytes)));
alignas(64) constexpr int kIota[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

// Replaces a symmetric positive definite matrix by its inverse, by Gauss-Jordan elimination without pivoting. Column k
// is replaced by blends of whole vectors: scalar stores would stall the vector loads that follow them.
inline void invert(int n, float* a) {
  const Indices iota = *reinterpret_cast<const Indices*>(kIota);
  for (int k = 0; k < n; ++k) {
    float* pivot_row = a + k * n;
    const int block = k / kLanes * kLanes;
    const Indices in_column = iota == k - block;
    const float inverse = 1 / pivot_row[k];
    for (int j = 0; j < n; j += kLanes) {
      const Vector v = load(pivot_row + j);
      store(pivot_row + j, (j == block ? (in_column ? Vector{} + 1.f : v) : v) * inverse);
    }
    for (int i = 0; i < n; ++i) {
      if (i == k) continue;
      float* row = a + i * n;
      const float factor = row[k];
      for (int j = 0; j < n; j += kLanes) {
        const Vector v = load(row + j);
        store(row + j, (j == block ? (in_column ? Vector{} : v) : v) - factor * load(pivot_row + j));
      }
    }
  }
}

// For symmetric positive definite a = L L^T: out = L^-1 (lower triangular). a is destroyed.
inline void inverse_cholesky_factor(int n, float* a, float* out) {
  for (int i = 0; i < n; ++i) {
    for (int j = 0; j < n; j += kLanes) store(out + i * n + j, Vector{});
    out[i * n + i] = 1;
  }
  for (int k = 0; k < n; ++k) {
    const float inverse = 1 / a[k * n + k];
    for (int i = k + 1; i < n; ++i) {
      const float factor = a[i * n + k] * inverse;
      for (int j = k / kLanes * kLanes; j < n; j += kLanes)
        store(a + i * n + j, load(a + i * n + j) - factor * load(a + k * n + j));
      for (int j = 0; j <= k; j += kLanes)
        store(out + i * n + j, load(out + i * n + j) - factor * load(out + k * n + j));
    }
  }
  for (int i = 0; i < n; ++i) {
    const float root = 1 / std::sqrt(a[i * n + i]);
    for (int j = 0; j < n; j += kLanes) store(out + i * n + j, load(out + i * n + j) * root);
  }
}
