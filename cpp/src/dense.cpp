// On Eigen's matrix product, which is most of the compile time and of the run time: instantiated here and nowhere else.
#include "gradproof/dense.hpp"

#include <algorithm>
#include <vector>

#include "gradproof/math.hpp"
#include "gradproof/reduce.hpp"

namespace gradproof {

namespace {

// c += op(a) op(b)
template <class T>
void add_product(T* c, const T* a, const T* b, Index m, Index k, Index n, bool transpose_a, bool transpose_b) {
  MatrixMap<T> C(c, m, n);
  const ConstMatrixMap<T> A(a, transpose_a ? k : m, transpose_a ? m : k);
  const ConstMatrixMap<T> B(b, transpose_b ? n : k, transpose_b ? k : n);
  if (transpose_a && transpose_b)
    C.noalias() += A.transpose() * B.transpose();
  else if (transpose_a)
    C.noalias() += A.transpose() * B;
  else if (transpose_b)
    C.noalias() += A * B.transpose();
  else
    C.noalias() += A * B;
}

#if defined(__AVX512F__)
// y += x W for W with at most 16 columns, the last layer of most networks, where Eigen's kernel leaves half of every
// register empty: 30 GFLOP/s against 45 in double, 54 against 79 in float. W is padded to 16 columns; the sums of as many
// rows as fill half of the registers are kept in them.
constexpr Index narrow_columns = 16;

template <class T, int rows>
inline void narrow_rows(T* y, const T* x, const T* W, Index k, Index n) {
  T sums[rows][narrow_columns] = {};
  for (Index c = 0; c < k; ++c) {
    const T* w = W + c * narrow_columns;
#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r) {
      const T factor = x[r * k + c];
#pragma omp simd
      for (Index j = 0; j < narrow_columns; ++j) sums[r][j] = math::madd(factor, w[j], sums[r][j]);
    }
  }
  for (int r = 0; r < rows; ++r) {
    for (Index j = 0; j < n; ++j) y[r * n + j] += sums[r][j];
  }
}

template <class T>
void narrow_product(T* y, const T* x, const T* W, Index m, Index k, Index n) {
  constexpr int rows = 1024 / (narrow_columns * sizeof(T));
  std::vector<T> padded(static_cast<std::size_t>(k * narrow_columns), T(0));
  for (Index c = 0; c < k; ++c) std::copy(W + c * n, W + (c + 1) * n, padded.data() + c * narrow_columns);
  Index r = 0;
  for (; r + rows <= m; r += rows) narrow_rows<T, rows>(y + r * n, x + r * k, padded.data(), k, n);
  for (; r < m; ++r) narrow_rows<T, 1>(y + r * n, x + r * k, padded.data(), k, n);
}
#endif

}  // namespace

template <class T>
void matmul(T* c, const T* a, const T* b, Index m, Index k, Index n, bool transpose_a, bool transpose_b) {
  std::fill(c, c + m * n, T(0));
  add_product(c, a, b, m, k, n, transpose_a, transpose_b);
}

template <class T>
void dense_forward(T* y, const T* x, const T* W, const T* b, Index m, Index n_in, Index n_out) {
  if (b) {
    for (Index i = 0; i < m; ++i) std::copy(b, b + n_out, y + i * n_out);
  } else {
    std::fill(y, y + m * n_out, T(0));
  }
#if defined(__AVX512F__)
  if (n_out <= narrow_columns && m >= narrow_columns) return narrow_product(y, x, W, m, n_in, n_out);
#endif
  add_product(y, x, W, m, n_in, n_out, false, false);
}

template <class T>
void dense_backward(T* dx, T* dW, T* db, const T* dy, const T* x, const T* W, Index m, Index n_in, Index n_out) {
  add_product(dW, x, dy, n_in, m, n_out, true, false);
  if (db) {
    for_column_blocks(n_out, [=](Index first, Index width) {
      double sums[column_block];
      block_sums(sums, m, n_out, first, width, [=](Index i) { return dy[i]; });
      for (Index j = 0; j < width; ++j) db[first + j] += T(sums[j]);
    });
  }
  if (dx) matmul(dx, dy, W, m, n_out, n_in, false, true);
}

#define GRADPROOF_INSTANTIATE(T)                                                                   \
  template void matmul(T*, const T*, const T*, Index, Index, Index, bool, bool);                   \
  template void dense_forward(T*, const T*, const T*, const T*, Index, Index, Index);              \
  template void dense_backward(T*, T*, T*, const T*, const T*, const T*, Index, Index, Index);
GRADPROOF_INSTANTIATE(float)
GRADPROOF_INSTANTIATE(double)
#undef GRADPROOF_INSTANTIATE

}  // namespace gradproof
