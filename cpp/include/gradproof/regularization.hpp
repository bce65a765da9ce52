// Penalties on weights: each returns the penalty, summed in double, and adds its gradient to dW unless that is null.
#pragma once

#include <cmath>

#include "types.hpp"

namespace gradproof {

// c sum |W|; gradient c sign(W), with sign(0) = 0.
template <class T>
double l1(T* dW, const T* W, Index size, T c) {
  double total = 0;
#pragma omp simd reduction(+ : total)
  for (Index i = 0; i < size; ++i) total += double(std::abs(W[i]));
  if (dW) {
#pragma omp simd
    for (Index i = 0; i < size; ++i) dW[i] += c * (T(W[i] > 0) - T(W[i] < 0));
  }
  return double(c) * total;
}

// c/2 sum W^2; gradient c W.
template <class T>
double l2(T* dW, const T* W, Index size, T c) {
  double total = 0;
#pragma omp simd reduction(+ : total)
  for (Index i = 0; i < size; ++i) total += double(W[i]) * double(W[i]);
  if (dW) {
#pragma omp simd
    for (Index i = 0; i < size; ++i) dW[i] += c * W[i];
  }
  return double(c) / 2 * total;
}

}  // namespace gradproof
