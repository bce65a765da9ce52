// Maxout: the largest of the `pieces` linear pieces of each unit (Goodfellow et al. 2013).
#pragma once

#include "types.hpp"

namespace gradproof {

// y[i, u] = max over p of x[i, u pieces + p], winner[i, u] = the first p that attains it.
// x (m, units pieces), y and winner (m, units). The first NaN wins, so that it is seen in y.
template <class T>
void maxout_forward(T* y, std::int32_t* winner, const T* x, Index m, Index units, Index pieces) {
  for (Index unit = 0; unit < m * units; ++unit) {
    const T* piece = x + unit * pieces;
    T best = piece[0];
    std::int32_t first = 0;
    for (Index p = 1; p < pieces; ++p) {
      const bool better = !(piece[p] <= best) && best == best;
      best = better ? piece[p] : best;
      first = better ? std::int32_t(p) : first;
    }
    y[unit] = best;
    winner[unit] = first;
  }
}

// dx[i, u pieces + p] = dy[i, u] for the winner, 0 for the others.
template <class T>
void maxout_backward(T* dx, const T* dy, const std::int32_t* winner, Index m, Index units, Index pieces) {
  for (Index unit = 0; unit < m * units; ++unit) {
    for (Index p = 0; p < pieces; ++p) dx[unit * pieces + p] = p == winner[unit] ? dy[unit] : T(0);
  }
}

}  // namespace gradproof
