// Sums, of a series and over the rows of a matrix. Accumulated in double whatever T is: sums of float in float lose a digit per 10^2 rows.
#pragma once

#include <algorithm>
#include <cmath>

#include "types.hpp"

namespace gradproof {

// Sums that keep what their roundings lose (Knuth's two-sum): terms that are equal would all round the same way.
inline void add_accurately(double* sums, double* lost, const double* terms, Index n) {
#pragma omp simd
  for (Index i = 0; i < n; ++i) {
    const double before = sums[i], sum = before + terms[i], part = sum - before;
    sums[i] = sum;
    lost[i] += (before - (sum - part)) + (terms[i] - part);
  }
}

inline double accurate_sum(double sum, double lost) { return std::isfinite(lost) ? sum + lost : sum; }

// One such sum.
class Sum {
 public:
  void operator+=(double term) { add_accurately(&sum_, &lost_, &term, 1); }
  double value() const { return accurate_sum(sum_, lost_); }

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
