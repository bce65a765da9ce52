#include "gradproof/dense.hpp"

#include "gradproof/product.hpp"
#include "gradproof/reduce.hpp"

namespace gradproof {

template <class T>
void matmul(T* c, const T* a, const T* b, Index m, Index k, Index n, bool transpose_a, bool transpose_b) {
  product(c, a, b, m, k, n, transpose_a, transpose_b, Start::zero);
}

template <class T>
void dense_forward(T* y, const T* x, const T* W, const T* b, Index m, Index n_in, Index n_out) {
  product(y, x, W, m, n_in, n_out, false, false, b ? Start::row : Start::zero, b);
}

template <class T>
void dense_backward(T* dx, T* dW, T* db, const T* dy, const T* x, const T* W, Index m, Index n_in, Index n_out,
                    bool fresh) {
  product(dW, x, dy, n_in, m, n_out, true, false, fresh ? Start::zero : Start::c);
  if (db) {
    for_column_blocks(n_out, [=](Index first, Index width) {
      double sums[column_block];
      block_sums(sums, m, n_out, first, width, [=](Index i) { return dy[i]; });
      for (Index j = 0; j < width; ++j) db[first + j] = (fresh ? T(0) : db[first + j]) + T(sums[j]);
    });
  }
  if (dx) product(dx, dy, W, m, n_out, n_in, false, true, Start::zero);
}

#define GRADPROOF_INSTANTIATE(T)                                                                   \
  template void matmul(T*, const T*, const T*, Index, Index, Index, bool, bool);                   \
  template void dense_forward(T*, const T*, const T*, const T*, Index, Index, Index);              \
  template void dense_backward(T*, T*, T*, const T*, const T*, const T*, Index, Index, Index, bool);
GRADPROOF_INSTANTIATE(float)
GRADPROOF_INSTANTIATE(double)
#undef GRADPROOF_INSTANTIATE

}  // namespace gradproof
