// f(x + d) - f(x) without cancellation, for every operation of a network; and the directional derivative f'(x) d of those
// that are not elementwise. Writing `a` for f(x):
//
//   ReLU        x > 0 ? max(d, -x) : max(x + d, 0)
//   tanh        (1 - a)(1 + a) t / (1 + a t),  t = tanh d
//   sigmoid     a (1 - a) e / (1 + a e),       e = expm1 d
//   softmax     a_c (e_c - s) / (1 + s),       e = expm1 d, s = sum a_c e_c
//   batch norm  gamma / sigma' (d - mean d - x_hat v / (sigma + sigma')),  v = change of the variance
//
// Changes beyond 1 have nothing left to cancel and could overflow in these forms: there it is f(x + d) - f(x) itself.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "gradproof/activations.hpp"
#include "gradproof/batch_norm.hpp"
#include "gradproof/difference.hpp"
#include "gradproof/math.hpp"

namespace gradproof {

// Below this, tanh d = d, expm1 d = d + d^2/2 and 1/(1 + d) = 1 - d to rounding: the cheap, exact forms of tiny steps.
template <class T>
constexpr T tiny() {
  return sizeof(T) == 4 ? T(0x1p-13) : T(0x1p-28);
}

template <class T>
bool all_tiny(const T* d, Index n, T limit = tiny<T>()) {
  T others = 0;  // counted in T: whole vectors are added up
#pragma omp simd reduction(+ : others)
  for (Index i = 0; i < n; ++i) others += std::abs(d[i]) < limit ? T(0) : T(1);
  return others == 0;
}

template <class T>
T expm1_accurate(T d) {
  return std::abs(d) < tiny<T>() ? d + d * d / 2 : math::expm1(d);
}

template <class T>
T log1p_accurate(T d) {
  return std::abs(d) < tiny<T>() ? d - d * d / 2 : math::log1p(d);
}

template <class T, class Base, class Mark>
void relu_difference(T slope, T* d, const Base& z, Index n, const Mark& mark) {
  const auto is_kink = [](T z, T d) { return ((z > 0) != (z + d > 0)) | ((z == 0) & (d != 0)); };
  int kinks = 0;
#pragma omp simd reduction(| : kinks)
  for (Index i = 0; i < n; ++i) kinks |= is_kink(z[i], d[i]);
  for (Index i = 0; kinks && i < n; ++i) {
    if (is_kink(z[i], d[i])) mark(i);
  }
#pragma omp simd
  for (Index i = 0; i < n; ++i) {
    const T moved = z[i] + d[i];
    const bool above = z[i] > 0, above_now = moved > 0;
    const T from_above = above_now ? d[i] : slope * moved - z[i];
    const T from_below = above_now ? moved - slope * z[i] : slope * d[i];
    d[i] = above ? from_above : from_below;
  }
}

template <class T, class Base>
void tanh_difference(T* d, const Base& z, const Base& a, Index n) {
  if (all_tiny(d, n)) {
#pragma omp simd
    for (Index i = 0; i < n; ++i) d[i] = (1 - a[i]) * (1 + a[i]) * d[i] * (1 - a[i] * d[i]);
  } else {
#pragma omp simd
    for (Index i = 0; i < n; ++i) {
      const T t = math::tanh(d[i]), plain = math::tanh(z[i] + d[i]) - a[i];
      const T slope = (1 - a[i]) * (1 + a[i]), form = slope * t / (1 + a[i] * t);
      const T size = std::abs(d[i]), small = slope * d[i] * (1 - a[i] * d[i]);
      d[i] = size > 1 ? plain : size < tiny<T>() ? small : form;
    }
  }
}

template <class T, class Base>
void sigmoid_difference(T* d, const Base& z, const Base& a, Index n) {
  if (all_tiny(d, n)) {
#pragma omp simd
    for (Index i = 0; i < n; ++i) {
      const T e = d[i] + d[i] * d[i] / 2;
      d[i] = a[i] * (1 - a[i]) * e * (1 - a[i] * e);
    }
  } else {
#pragma omp simd
    for (Index i = 0; i < n; ++i) {
      const T e = math::expm1(d[i]), plain = math::sigmoid(z[i] + d[i]) - a[i];
      const T slope = a[i] * (1 - a[i]), form = slope * e / (1 + a[i] * e);
      const T size = std::abs(d[i]), half = d[i] + d[i] * d[i] / 2, small = slope * half * (1 - a[i] * half);
      d[i] = size > 1 ? plain : size < tiny<T>() ? small : form;
    }
  }
}

// d: the change before an elementwise activation on its way in, behind it on its way out; z and a are the activation's
// input and output at the base point, as arrays or Same. mark(i): element i changed its branch, or left a tie.
template <class T, class Base, class Mark>
void activation_difference(const Op& op, T* d, const Base& z, const Base& a, Index n, const Mark& mark) {
  switch (op.kind) {
    case Kind::relu:
      relu_difference(T(0), d, z, n, mark);
      break;
    case Kind::leaky_relu:
      relu_difference(static_cast<T>(op.scalar[0]), d, z, n, mark);
      break;
    case Kind::tanh:
      tanh_difference(d, z, a, n);
      break;
    default:
      sigmoid_difference(d, z, a, n);
  }
}

// A feature's m rows in each of n replicas of the batch, x (m, n), through batch norm in place: the values themselves.
template <class T>
void batch_norm_values(T* x, T gamma, T beta, Index m, Index n, T epsilon) {
  std::vector<T> memory(static_cast<std::size_t>(2 * m * n + 5 * n));
  T* y = memory.data();
  T* x_hat = y + m * n;
  T* statistics = x_hat + m * n;
  T* gammas = statistics + 3 * n;
  std::fill(gammas, gammas + n, gamma);
  std::fill(gammas + n, gammas + 2 * n, beta);
  batch_norm_forward(y, x_hat, statistics, statistics + n, statistics + 2 * n, x, gammas, gammas + n, m, n, epsilon);
  std::copy(y, y + m * n, x);
}

// The same for the change, or the derivative (tangent), d (m, n); x_hat (m), `stride` apart, and inv_std are those of the
// feature. With c = x - mean and dc = d - mean d the variance changes by v = mean(2 c dc + dc^2), and c = x_hat sigma.
template <class T>
void batch_norm_difference(bool tangent, T* d, const T* x_hat, Index stride, T inv_std, T gamma, Index m, Index n) {
  // Sums over rows in double, as in the kernel.
  std::vector<double> memory(static_cast<std::size_t>(3 * n), 0.0);
  double* mean = memory.data();
  double* along = mean + n;    // sum of x_hat dc, then the factor of x_hat
  double* square = along + n;  // sum of dc^2, then the factor of everything
  for (Index s = 0; s < m; ++s) {
#pragma omp simd
    for (Index j = 0; j < n; ++j) mean[j] += static_cast<double>(d[s * n + j]);
  }
  for (Index j = 0; j < n; ++j) mean[j] /= static_cast<double>(m);
  for (Index s = 0; s < m; ++s) {
    const double x = static_cast<double>(x_hat[s * stride]);
#pragma omp simd
    for (Index j = 0; j < n; ++j) {
      const T dc = d[s * n + j] - static_cast<T>(mean[j]);
      d[s * n + j] = dc;
      along[j] += x * static_cast<double>(dc);
      square[j] += static_cast<double>(dc) * static_cast<double>(dc);
    }
  }
  const double sigma = 1 / static_cast<double>(inv_std);
  for (Index j = 0; j < n; ++j) {
    const double v = (2 * sigma * along[j] + (tangent ? 0 : square[j])) / static_cast<double>(m);
    const double moved = tangent ? sigma : std::sqrt(sigma * sigma + v);
    along[j] = v / (sigma + moved);
    square[j] = static_cast<double>(gamma) / moved;
  }
  for (Index s = 0; s < m; ++s) {
    const T x = x_hat[s * stride];
#pragma omp simd
    for (Index j = 0; j < n; ++j) {
      d[s * n + j] = static_cast<T>(square[j]) * (d[s * n + j] - x * static_cast<T>(along[j]));
    }
  }
}

// One unit in n replicas of a row: d (pieces, n), z (pieces) and the winner are those of the base point; the change of the
// maximum goes to best (n).
template <class T, class Mark>
void maxout_difference(bool tangent, T* best, const T* d, Index stride, const T* z, Index winner, Index pieces, Index n,
                       const Mark& mark) {
  const T* own = d + winner * stride;
  std::copy(own, own + n, best);
  for (Index p = 0; !tangent && p < pieces; ++p) {
    const T gap = z[p] - z[winner];
    const T* other = d + p * stride;
    for (Index i = 0; i < n; ++i) {
      const T change = gap + other[i];
      if (change > own[i] || (p != winner && gap == 0 && other[i] != own[i])) mark(i);
      best[i] = std::max(best[i], change);
    }
  }
}

// In place; z and a are the input and the output of the softmax at the base point.
template <class T>
void softmax_difference(bool tangent, T* d, const T* z, const T* a, Index n) {
  if (!tangent && std::any_of(d, d + n, [](T change) { return std::abs(change) > 1; })) {
    for (Index c = 0; c < n; ++c) d[c] += z[c];
    softmax_forward(d, d, Index(1), n);
    for (Index c = 0; c < n; ++c) d[c] -= a[c];
    return;
  }
  T sum = 0;
  for (Index c = 0; c < n; ++c) {
    if (!tangent) d[c] = expm1_accurate(d[c]);
    sum += a[c] * d[c];
  }
  const T total = tangent ? T(1) : 1 + sum;
  for (Index c = 0; c < n; ++c) d[c] = a[c] * (d[c] - sum) / total;
}

}  // namespace gradproof
