// Losses of scores (m, n), each with its gradient. Every function returns the mean loss, summed in double, and writes the
// gradient of that mean to dscores (m, n) unless it is null. All terms are arranged so that nothing cancels: results keep
// their relative accuracy when a probability approaches 0 or 1, and scores of any finite size are safe.
#pragma once

#include <algorithm>
#include <memory>

#include "activations.hpp"
#include "reduce.hpp"

namespace gradproof {

// Up to this many classes, rows are worked on side by side: one is too short to fill a vector.
constexpr Index few_classes = 16;
constexpr int row_lanes = 16;

// softmax_cross_entropy of m <= row_lanes rows, as a sum; `rows` is what the gradient is divided by.
template <class T>
double softmax_cross_entropy_of_few(T* dscores, const T* scores, const std::int64_t* labels, Index m, Index n,
                                    Index rows) {
  T e[few_classes][row_lanes], maximum[row_lanes];
  double others[row_lanes], e_true[row_lanes], logs[row_lanes], scale[row_lanes];
  const auto each_class = [&](auto body) {
    for (Index j = 0; j < n; ++j) {
      T* e_j = e[j];
#pragma omp simd
      for (int l = 0; l < row_lanes; ++l) body(e_j[l], l);
    }
  };
  for (int l = 0; l < row_lanes; ++l) {
    const T* row = scores + std::min<Index>(l, m - 1) * n;
    for (Index j = 0; j < n; ++j) e[j][l] = row[j];
  }
  std::copy_n(e[0], row_lanes, maximum);
  each_class([&](T& e, int l) { maximum[l] = e > maximum[l] ? e : maximum[l]; });
  each_class([&](T& e, int l) { e -= maximum[l]; });
  double total = 0;
  for (int l = 0; l < m; ++l) total -= double(e[labels[l]][l]);
  each_class([&](T& e, int) { e = math::exp(e); });
  std::fill_n(e_true, row_lanes, 1.0);
  std::fill_n(others, row_lanes, 0.0);
  for (int l = 0; l < m; ++l) {
    e_true[l] = double(e[labels[l]][l]);
    e[labels[l]][l] = 0;
  }
  each_class([&](T& e, int l) { others[l] += double(e); });
#pragma omp simd
  for (int l = 0; l < row_lanes; ++l) {
    logs[l] = math::log1p(others[l] + (e_true[l] - 1));  // the log of the sum; e_true is 1 when the true class has the maximum
    scale[l] = 1 / ((others[l] + e_true[l]) * double(rows));
  }
  for (int l = 0; l < m; ++l) total += logs[l];
  if (!dscores) return total;
  each_class([&](T& e, int l) { e *= T(scale[l]); });
  for (int l = 0; l < m; ++l) {
    T* row = dscores + l * n;
    for (Index j = 0; j < n; ++j) row[j] = e[j][l];
    row[labels[l]] = T(-others[l] * scale[l]);
  }
  return total;
}

// L_i = log sum_j e^(s_ij) - s_iy; dL_i/ds_ij = p_ij - [j = y], which for the true class is -(sum of the other p).
template <class T>
double softmax_cross_entropy(T* dscores, const T* scores, const std::int64_t* labels, Index m, Index n) {
  if (n <= few_classes) {
    double total = 0;
    for (Index i = 0; i < m; i += row_lanes) {
      total += softmax_cross_entropy_of_few(dscores ? dscores + i * n : nullptr, scores + i * n, labels + i,
                                            std::min<Index>(row_lanes, m - i), n, m);
    }
    return total / double(m);
  }
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
