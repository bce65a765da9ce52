// Sums, of a series and over the rows of a matrix. Accumulated in double whatever T is: sums of float in float lose a digit per 10^2 rows.
#pragma once

#include <algorithm>
#include <cmath>

#include "types.hpp"

namespace gradproof {

// A sum that keeps what its roundings lose (Knuth's two-sum): terms that are equal would all round the same way.
class Sum {
 public:
  void operator+=(double term) {
    const double before = sum_, part = (sum_ += term) - before;
    lost_ += (before - (sum_ - part)) + (term - part);
  }
  double value() const { return std::isfinite(lost_) ? sum_ + lost_ : sum_; }

 private:
  double sum_ = 0, lost_ = 0;
};

// Columns are summed in blocks, whose sums stay in registers or the first cache.
constexpr Index column_block = 64;

// sums[j] = sum over the m rows i of term(offset of entry (i, first + j)), for a block of `width` columns of (m, n).
template <class Term>
void block_sums(double* sums, Index m, Index n, Index first, Index width, Term term) {
  std::fill(sums, sums + width, 0.0);
  for (Index i = 0; i < m; ++i) {
    const Index row = i * n + first;
#pragma omp simd
    for (Index j = 0; j < width; ++j) sums[j] += term(row + j);
  }
}

// Calls body(first, width) for every block of the n columns.
template <class Body>
void for_column_blocks(Index n, Body body) {
  for (Index first = 0; first < n; first += column_block) body(first, std::min(column_block, n - first));
}

}  // namespace gradproof
