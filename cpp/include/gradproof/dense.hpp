// Products of matrices and the fully connected layer, y = x W + b, on Eigen's matrix product.
#pragma once

#include "reduce.hpp"
#include "types.hpp"

namespace gradproof {

// c = op(a) op(b) with op(a) (m, k), op(b) (k, n), c (m, n). A transposed argument is stored as (k, m) or (n, k).
template <class T>
void matmul(T* c, const T* a, const T* b, Index m, Index k, Index n, bool transpose_a, bool transpose_b) {
  MatrixMap<T> C(c, m, n);
  const ConstMatrixMap<T> A(a, transpose_a ? k : m, transpose_a ? m : k);
  const ConstMatrixMap<T> B(b, transpose_b ? n : k, transpose_b ? k : n);
  if (transpose_a && transpose_b)
    C.noalias() = A.transpose() * B.transpose();
  else if (transpose_a)
    C.noalias() = A.transpose() * B;
  else if (transpose_b)
    C.noalias() = A * B.transpose();
  else
    C.noalias() = A * B;
}

// y = x W + b: x (m, n_in), W (n_in, n_out), b (n_out) or null, y (m, n_out).
template <class T>
void dense_forward(T* y, const T* x, const T* W, const T* b, Index m, Index n_in, Index n_out) {
  MatrixMap<T> Y(y, m, n_out);
  if (b)
    Y.rowwise() = ConstRowMap<T>(b, n_out);
  else
    Y.setZero();
  Y.noalias() += ConstMatrixMap<T>(x, m, n_in) * ConstMatrixMap<T>(W, n_in, n_out);
}

// dW += x^T dy, db += column sums of dy (unless null), dx = dy W^T (unless null).
template <class T>
void dense_backward(T* dx, T* dW, T* db, const T* dy, const T* x, const T* W, Index m, Index n_in, Index n_out) {
  const ConstMatrixMap<T> DY(dy, m, n_out);
  MatrixMap<T>(dW, n_in, n_out).noalias() += ConstMatrixMap<T>(x, m, n_in).transpose() * DY;
  if (db) {
    for_column_blocks(n_out, [=](Index first, Index width) {
      double sums[column_block];
      block_sums(sums, m, n_out, first, width, [=](Index i) { return dy[i]; });
      for (Index j = 0; j < width; ++j) db[first + j] += T(sums[j]);
    });
  }
  if (dx) MatrixMap<T>(dx, m, n_in).noalias() = DY * ConstMatrixMap<T>(W, n_in, n_out).transpose();
}

}  // namespace gradproof
