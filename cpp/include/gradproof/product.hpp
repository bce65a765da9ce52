// Products of matrices, c = start + op(a) op(b). Instantiated for float and double in product.cpp.
//
// Every entry is one chain of multiplications and additions over k, in the order of k, in blocks that depend on k alone: it
// does not depend on where in c it stands, on how many rows or columns there are, on addresses, or on the number of threads.
#pragma once

#include "types.hpp"

namespace gradproof {

// What a product is added to.
enum class Start { zero, c, row };

// c (m, n) = start + op(a) op(b), op(a) (m, k), op(b) (k, n), all of them in full rows; a transposed argument is stored as
// (k, m) or (n, k). The start is 0, c itself, or the same row of n numbers everywhere.
template <class T>
void product(T* c, const T* a, const T* b, Index m, Index k, Index n, bool transpose_a, bool transpose_b, Start start,
             const T* row = nullptr);

// While one exists, the large products of floats of this thread may be made on the matrix unit of the processor, if it has one:
// faster and as accurate, but not bit for bit what they are elsewhere.
class MatrixUnit {
 public:
  MatrixUnit();
  ~MatrixUnit();
  MatrixUnit(const MatrixUnit&) = delete;
  MatrixUnit& operator=(const MatrixUnit&) = delete;

 private:
  const bool before_;
};

// Whether there is one and it may be used: it may until it is forbidden, for all threads.
bool matrix_unit();
void allow_matrix_unit(bool allow);

}  // namespace gradproof
