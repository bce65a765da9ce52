// f(x + d) - f(x) without cancellation, for every operation of a network and every loss; and the directional
// derivative f'(x) d of those that are not elementwise. Writing `a` for f(x):
//
//   ReLU        x > 0 ? max(d, -x) : max(x + d, 0)
//   tanh        (1 - a)(1 + a) t / (1 + a t),  t = tanh d
//   sigmoid     a (1 - a) e / (1 + a e),       e = expm1 d
//   softmax     a_c (e_c - s) / (1 + s),       e = expm1 d, s = sum a_c e_c
//   batch norm  gamma / sigma' (d - mean d - x_hat v / (sigma + sigma')),  v = change of the variance
//   cross entropy  log1p(sum_c p_c expm1(d_c - d_y));   binary: (1-t) log1p(p expm1 d) + t log1p((1-p) expm1(-d))
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
  T largest = 0;
#pragma omp simd reduction(max : largest)
  for (Index i = 0; i < n; ++i) {
    const T size = std::abs(d[i]);
    largest = size > largest ? size : largest;
  }
  return largest < limit;
}

template <class T>
T expm1_accurate(T d) {
  return std::abs(d) < tiny<T>() ? d + d * d / 2 : math::expm1(d);
}

template <class T>
T log1p_accurate(T d) {
  return std::abs(d) < tiny<T>() ? d - d * d / 2 : math::log1p(d);
}

template <class T>
bool relu_difference(T slope, T* d, const T* z, Index n) {
  int kinks = 0;
#pragma omp simd reduction(| : kinks)
  for (Index i = 0; i < n; ++i) {
    const T moved = z[i] + d[i];
    const bool above = z[i] > 0, above_now = moved > 0;
    kinks |= (above != above_now) | ((z[i] == 0) & (d[i] != 0));
    const T from_above = above_now ? d[i] : slope * moved - z[i];
    const T from_below = above_now ? moved - slope * z[i] : slope * d[i];
    d[i] = above ? from_above : from_below;
  }
  return kinks != 0;
}

template <class T>
void tanh_difference(T* d, const T* z, const T* a, Index n) {
  if (all_tiny(d, n)) {
#pragma omp simd
    for (Index i = 0; i < n; ++i) d[i] = (1 - a[i]) * (1 + a[i]) * d[i] * (1 - a[i] * d[i]);
  } else {
#pragma omp simd
    for (Index i = 0; i < n; ++i) {
      const T t = math::tanh(d[i]), plain = math::tanh(z[i] + d[i]) - a[i];
      const T form = (1 - a[i]) * (1 + a[i]) * t / (1 + a[i] * t);
      d[i] = std::abs(d[i]) > 1 ? plain : form;
    }
  }
}

template <class T>
void sigmoid_difference(T* d, const T* z, const T* a, Index n) {
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
      const T form = a[i] * (1 - a[i]) * e / (1 + a[i] * e);
      d[i] = std::abs(d[i]) > 1 ? plain : form;
    }
  }
}

// d: the change before an elementwise activation on its way in, behind it on its way out; z and a are the activation's
// input and output at the base point. True: some element changed its branch, or left a tie.
template <class T>
bool activation_difference(const Op& op, T* d, const T* z, const T* a, Index n) {
  switch (op.kind) {
    case Kind::relu:
      return relu_difference(T(0), d, z, n);
    case Kind::leaky_relu:
      return relu_difference(static_cast<T>(op.scalar[0]), d, z, n);
    case Kind::tanh:
      tanh_difference(d, z, a, n);
      return false;
    default:
      sigmoid_difference(d, z, a, n);
      return false;
  }
}

// One group of m rows through batch norm in place: the values themselves.
template <class T>
void batch_norm_values(T* x, const T* gamma, const T* beta, Index m, Index n, T epsilon) {
  std::vector<T> memory(static_cast<std::size_t>(2 * m * n + 3 * n));
  T* y = memory.data();
  T* x_hat = y + m * n;
  T* statistics = x_hat + m * n;
  batch_norm_forward(y, x_hat, statistics, statistics + n, statistics + 2 * n, x, gamma, beta, m, n, epsilon);
  std::copy(y, y + m * n, x);
}

// One group of m rows through batch norm in place: the change, or the derivative (tangent). With c = x - mean and
// dc = d - mean d the variance changes by v = mean(2 c dc + dc^2), and c = x_hat sigma.
template <class T>
void batch_norm_difference(bool tangent, T* d, const T* x_hat, const T* inv_std, const T* gamma, Index m, Index n) {
  // Sums over rows in double, as in the kernel.
  std::vector<double> memory(static_cast<std::size_t>(3 * n), 0.0);
  double* mean = memory.data();
  double* along = mean + n;    // sum of x_hat dc, then the factor of x_hat
  double* square = along + n;  // sum of dc^2, then the factor of everything
  for (Index s = 0; s < m; ++s) {
    for (Index j = 0; j < n; ++j) mean[j] += static_cast<double>(d[s * n + j]);
  }
  for (Index j = 0; j < n; ++j) mean[j] /= static_cast<double>(m);
  for (Index s = 0; s < m; ++s) {
    for (Index j = 0; j < n; ++j) {
      const T dc = d[s * n + j] - static_cast<T>(mean[j]);
      d[s * n + j] = dc;
      along[j] += static_cast<double>(x_hat[s * n + j]) * static_cast<double>(dc);
      square[j] += static_cast<double>(dc) * static_cast<double>(dc);
    }
  }
  for (Index j = 0; j < n; ++j) {
    const double sigma = 1 / static_cast<double>(inv_std[j]);
    const double v = (2 * sigma * along[j] + (tangent ? 0 : square[j])) / static_cast<double>(m);
    const double moved = tangent ? sigma : std::sqrt(sigma * sigma + v);
    along[j] = v / (sigma + moved);
    square[j] = static_cast<double>(gamma[j]) / moved;
  }
  for (Index s = 0; s < m; ++s) {
    for (Index j = 0; j < n; ++j) {
      d[s * n + j] = static_cast<T>(square[j]) * (d[s * n + j] - x_hat[s * n + j] * static_cast<T>(along[j]));
    }
  }
}

template <class T>
bool maxout_difference(bool tangent, T* y, const T* d, const T* z, const std::int32_t* winner, Index units,
                       Index pieces) {
  bool kink = false;
  for (Index u = 0; u < units; ++u) {
    const T* zu = z + u * pieces;
    const T* du = d + u * pieces;
    const Index w = winner[u];
    T best = du[w];
    if (!tangent) {
      for (Index p = 0; p < pieces; ++p) {
        const T change = (zu[p] - zu[w]) + du[p];
        kink |= change > du[w] || (p != w && zu[p] == zu[w] && du[p] != du[w]);
        best = std::max(best, change);
      }
    }
    y[u] = best;
  }
  return kink;
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

// What the loss of one row makes of changed scores. Keeps the scores of the base point and what follows from them.
template <class T>
class LossDifference {
 public:
  explicit LossDifference(const Point<T>& point)
      : targets_(point.targets), scores_(point.scores()), n_(point.plan.back().n_out) {
    if (targets_.loss == Loss::softmax_cross_entropy || targets_.loss == Loss::binary_cross_entropy) {
      probability_.resize(static_cast<std::size_t>(point.m * n_));
      if (targets_.loss == Loss::softmax_cross_entropy) {
        softmax_forward(probability_.data(), scores_, point.m, n_);
      } else {
        sigmoid_forward(probability_.data(), scores_, point.m * n_);
      }
    }
  }

  // d: the row's changed scores (difference), their derivative (tangent), or the perturbed scores themselves (loss).
  // small: whether all changes are so small that those of two scores differ by less than tiny().
  double row(Scheme scheme, Index s, T* d, bool small, bool& kink) const {
    if (scheme == Scheme::loss) return data_loss<T>(row_targets(s), nullptr, d, Index(1), n_);
    const bool tangent = scheme == Scheme::tangent;
    switch (targets_.loss) {
      case Loss::softmax_cross_entropy:
        return cross_entropy(tangent, small, s, d);
      case Loss::hinge:
        return hinge(tangent, s, d, kink);
      case Loss::binary_cross_entropy:
        return binary_cross_entropy(tangent, s, d);
      case Loss::mse:
        break;
    }
    return mse(tangent, s, d);
  }

 private:
  double cross_entropy(bool tangent, bool small, Index s, T* d) const {
    const T* p = probability_.data() + s * n_;
    const T own = d[targets_.labels[s]];
    T sum = 0;
    if (tangent || small) {
      const T half = tangent ? T(0) : T(0.5);
#pragma omp simd reduction(+ : sum)
      for (Index c = 0; c < n_; ++c) sum += p[c] * ((d[c] - own) + half * (d[c] - own) * (d[c] - own));
      return static_cast<double>(sum - half * sum * sum);
    }
    T largest = 0;
    for (Index c = 0; c < n_; ++c) {
      largest = std::max(largest, d[c] - own);
      sum += p[c] * math::expm1(d[c] - own);
    }
    if (largest <= 1 && sum > T(-0.5)) return static_cast<double>(math::log1p(sum));
    for (Index c = 0; c < n_; ++c) d[c] += scores_[s * n_ + c];
    return plain_change(s, d);
  }

  double plain_change(Index s, const T* scores) const {
    const Targets<T> one = row_targets(s);
    return data_loss<T>(one, nullptr, scores, Index(1), n_) -
           data_loss<T>(one, nullptr, scores_ + s * n_, Index(1), n_);
  }

  Targets<T> row_targets(Index s) const {
    Targets<T> one = targets_;
    if (has_labels(one.loss)) {
      one.labels += s;
    } else {
      one.values += s * n_;
    }
    return one;
  }

  double hinge(bool tangent, Index s, const T* d, bool& kink) const {
    const T* z = scores_ + s * n_;
    const Index y = targets_.labels[s];
    T sum = 0;
    for (Index c = 0; c < n_; ++c) {
      if (c == y) continue;
      const T margin = z[c] - z[y] + 1, change = d[c] - d[y], moved = margin + change;
      if (tangent) {
        sum += margin > 0 ? change : T(0);
        continue;
      }
      kink |= (margin > 0) != (moved > 0) || (margin == 0 && change != 0);
      sum += margin > 0 ? std::max(change, -margin) : std::max(moved, T(0));
    }
    return static_cast<double>(sum);
  }

  double binary_cross_entropy(bool tangent, Index s, T* d) const {
    if (!tangent && std::any_of(d, d + n_, [](T change) { return std::abs(change) > 1; })) {
      for (Index c = 0; c < n_; ++c) d[c] += scores_[s * n_ + c];
      return plain_change(s, d);
    }
    T sum = 0;
    for (Index c = 0; c < n_; ++c) {
      const T p = probability_[static_cast<std::size_t>(s * n_ + c)];
      const T q = math::sigmoid(-scores_[s * n_ + c]);  // 1 - p, accurate when p is near 1
      const T t = targets_.values[s * n_ + c];
      sum += tangent ? (p * (1 - t) - q * t) * d[c]
                     : (1 - t) * log1p_accurate(p * expm1_accurate(d[c])) +
                           t * log1p_accurate(q * expm1_accurate(-d[c]));
    }
    return static_cast<double>(sum) / static_cast<double>(n_);
  }

  double mse(bool tangent, Index s, const T* d) const {
    T sum = 0;
    for (Index c = 0; c < n_; ++c) {
      const T residual = scores_[s * n_ + c] - targets_.values[s * n_ + c];
      sum += d[c] * (2 * residual + (tangent ? T(0) : d[c]));
    }
    return static_cast<double>(sum) / static_cast<double>(n_);
  }

  const Targets<T> targets_;
  const T* const scores_;
  const Index n_;
  std::vector<T> probability_;
};

}  // namespace gradproof
