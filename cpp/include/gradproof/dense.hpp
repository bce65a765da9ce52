// Products of matrices and the fully connected layer, y = x W + b. Instantiated for float and double in dense.cpp.
#pragma once

#include "types.hpp"

namespace gradproof {

// c = op(a) op(b) with op(a) (m, k), op(b) (k, n), c (m, n). A transposed argument is stored as (k, m) or (n, k).
template <class T>
void matmul(T* c, const T* a, const T* b, Index m, Index k, Index n, bool transpose_a, bool transpose_b);

// y = x W + b: x (m, n_in), W (n_in, n_out), b (n_out) or null, y (m, n_out).
template <class T>
void dense_forward(T* y, const T* x, const T* W, const T* b, Index m, Index n_in, Index n_out);

// dW += x^T dy, db += column sums of dy (unless null), dx = dy W^T (unless null). `fresh`: dW and db are taken for zero
// whatever they hold, which saves a pass over them.
template <class T>
void dense_backward(T* dx, T* dW, T* db, const T* dy, const T* x, const T* W, Index m, Index n_in, Index n_out,
                    bool fresh = false);

}  // namespace gradproof
