// Losses of scores (m, n), each with its gradient. Every function returns the mean loss, summed in double, and writes the
// gradient of that mean to dscores (m, n) unless it is null. All terms are arranged so that nothing cancels: results keep
// their relative accuracy when a probability approaches 0 or 1, and scores of any finite size are safe.
#pragma once

#include <memory>

#include "activations.hpp"
#include "reduce.hpp"

namespace gradproof {

// L_i = log sum_j e^(s_ij) - s_iy; dL_i/ds_ij = p_ij - [j = y], which for the true class is -(sum of the other p).
template <class T>
double softmax_cross_entropy(T* dscores, const T* scores, const std::int64_t* labels, Index m, Index n) {
  std::unique_ptr<T[]> own(dscores ? nullptr : new T[std::size_t(m * n)]);
  T* e = dscores ? dscores : own.get();
  Sum total;
  subtract_row_maximum(e, scores, m, n);
  for (Index i = 0; i < m; ++i) total += -double(e[i * n + labels[i]]);
  math::map(e, e, m * n, [](T s) { return math::exp(s); });
  for (Index i = 0; i < m; ++i) {
    T* row = e + i * n;
    const double e_true = double(row[labels[i]]);
    row[labels[i]] = 0;
    double others = 0;
#pragma omp simd reduction(+ : others)
    for (Index j = 0; j < n; ++j) others += row[j];
    total += math::log1p(others + (e_true - 1));  // the log of the sum; e_true is 1 when the true class has the maximum
    const double scale = 1 / ((others + e_true) * double(m));
    math::map(row, row, n, [scale = T(scale)](T e) { return e * scale; });
    row[labels[i]] = T(-others * scale);
  }
  return total.value() / double(m);
}

// L_i = sum over j != y of max(0, s_ij - s_iy + margin), the multiclass SVM of CS231n; the subgradient at a tie is 0.
template <class T>
double hinge(T* dscores, const T* scores, const std::int64_t* labels, Index m, Index n, T margin) {
  const T unit = T(1 / double(m));
  Sum total;
  for (Index i = 0; i < m; ++i) {
    const T* row = scores + i * n;
    const Index label = labels[i];
    const T score_true = row[label];
    double loss = 0;
    Index violations = 0;
#pragma omp simd reduction(+ : loss, violations)
    for (Index j = 0; j < n; ++j) {
      const T excess = row[j] - score_true + margin;
      const bool satisfied = j == label || excess <= 0;  // false for NaN, which is to be seen in the loss
      loss += satisfied ? 0.0 : double(excess);
      violations += satisfied ? 0 : 1;
    }
    total += loss;
    if (!dscores) continue;
    T* drow = dscores + i * n;
#pragma omp simd
    for (Index j = 0; j < n; ++j) drow[j] = j == label || row[j] - score_true + margin <= 0 ? T(0) : unit;
    drow[label] = T(-double(violations) / double(m));
  }
  return total.value() / double(m);
}

// L = softplus(z) - t z for a logit z and a target t in [0, 1], mean over all elements;
// as log(1 + e^-|z|) + (1 - t) max(z, 0) + t max(-z, 0). dL/dz = (1 - t) sigmoid(z) - t sigmoid(-z).
template <class T>
double binary_cross_entropy(T* dscores, const T* scores, const T* targets, Index m, Index n) {
  const Index size = m * n;
  Sum total;
  for (Index i = 0; i < size; i += n) {
    double row = 0;
#pragma omp simd reduction(+ : row)
    for (Index j = i; j < i + n; ++j) {
      const T z = scores[j], t = targets[j];
      row += math::log1p(math::exp(-std::abs(z))) + (z > 0 ? (1 - t) * z : -t * z);
    }
    total += row;
  }
  if (dscores) {
    const T unit = T(1 / double(size));
#pragma omp simd
    for (Index i = 0; i < size; ++i) {
      const T z = scores[i], t = targets[i];
      dscores[i] = ((1 - t) * math::sigmoid(z) - t * math::sigmoid(-z)) * unit;
    }
  }
  return total.value() / double(size);
}

// L = (p - t)^2, mean over all elements.
template <class T>
double mse(T* dscores, const T* predictions, const T* targets, Index m, Index n) {
  const Index size = m * n;
  Sum total;
  for (Index i = 0; i < size; i += n) {
    double row = 0;
#pragma omp simd reduction(+ : row)
    for (Index j = i; j < i + n; ++j) {
      const double d = double(predictions[j] - targets[j]);
      row += d * d;
    }
    total += row;
  }
  if (dscores) {
    const T factor = T(2 / double(size));
#pragma omp simd
    for (Index i = 0; i < size; ++i) dscores[i] = factor * (predictions[i] - targets[i]);
  }
  return total.value() / double(size);
}

}  // namespace gradproof
