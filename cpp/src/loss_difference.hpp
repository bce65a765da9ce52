// What a loss makes of changed scores, without cancellation:
//
//   cross entropy  log1p(sum_c p_c expm1(d_c - d_y));   binary: (1-t) log1p(p expm1 d) + t log1p((1-p) expm1(-d))
//   hinge          sum_c max(change, -margin) or max(margin + change, 0);   squares  d (2 residual + d)
//
// Changes beyond 1 have nothing left to cancel and could overflow in these forms: there it is the difference itself.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "difference_forms.hpp"
#include "gradproof/difference.hpp"
#include "gradproof/math.hpp"
#include "lanes.hpp"

namespace gradproof {

// Keeps the scores of the base point and what follows from them.
template <class T>
class LossDifference {
 public:
  explicit LossDifference(const Point<T>& point)
      : targets_(point.targets), scores_(point.scores()), n_(point.plan.back().n_out) {
    const Index m = point.m;
    fact_.resize(static_cast<std::size_t>(m * n_));
    T* fact = fact_.data();
    switch (targets_.loss) {
      case Loss::softmax_cross_entropy:
        softmax_forward(fact, scores_, m, n_);
        break;
      case Loss::binary_cross_entropy:
        sigmoid_forward(fact, scores_, m * n_);
        for (Index i = 0; i < m * n_; ++i) complement_.push_back(math::sigmoid(-scores_[i]));
        break;
      case Loss::hinge:
        for (Index i = 0; i < m * n_; ++i) fact[i] = scores_[i] - scores_[i / n_ * n_ + targets_.labels[i / n_]] + 1;
        break;
      case Loss::mse:
        for (Index i = 0; i < m * n_; ++i) fact[i] = scores_[i] - targets_.values[i];
    }
  }

  // Buffers of one worker, (lanes) and (n).
  struct Beside {
    std::vector<T> sum, own, row, reach;
    std::vector<T> base[3];
  };

  // The panel is read in whole vectors: up to so many numbers behind its end.
  static constexpr Index beyond = 64 / sizeof(T);

  // panel (n, lanes): changed scores (difference), their derivatives (tangent), or the perturbed scores themselves (loss).
  // change (lanes): of the loss of the row, or (loss) that loss.
  void lanes(Scheme scheme, const Lanes& lanes, const T* panel, double* change, Beside& beside) const {
    const Index stride = lanes.count();
    const bool tangent = scheme == Scheme::tangent, entropy = targets_.loss == Loss::softmax_cross_entropy;
    bool near = scheme != Scheme::loss;
    if (near) {
      if (entropy) {
        cross_entropy(tangent, lanes, panel, beside);
      } else {
        side_by_side(tangent, lanes, panel, beside);
      }
      std::copy(beside.sum.begin(), beside.sum.begin() + stride, change);
      const double parts = has_labels(targets_.loss) ? 1 : static_cast<double>(n_);  // the mean is over all elements
      for (Index l = 0; parts > 1 && l < stride; ++l) change[l] /= parts;
      near = tangent || (entropy ? all_tiny(beside.reach.data(), stride, limit()) : all_tiny(panel, n_ * stride, limit()));
    }
    if (near) return;
    beside.row.resize(static_cast<std::size_t>(n_));
    T* row = beside.row.data();
    for (const RowLanes& run : lanes.runs()) {
      for (Index l = run.begin; l < run.end; ++l) {
        for (Index c = 0; c < n_; ++c) row[c] = panel[c * stride + l];
        if (scheme == Scheme::loss) {
          change[l] = value(run.sample, row);
        } else if (entropy ? !all_tiny(&beside.reach[static_cast<std::size_t>(l)], 1, limit()) : !all_tiny(row, n_, limit())) {
          change[l] = by_itself(run.sample, row);
        }
      }
    }
  }

 private:
  // Changes from here on are too large for what is done side by side.
  T limit() const {
    if (targets_.loss == Loss::softmax_cross_entropy) return tiny<T>() / 2;
    return targets_.loss == Loss::binary_cross_entropy ? T(1) : std::numeric_limits<T>::infinity();
  }

  // sum (lanes): the change by its form for small changes, or the derivative; reach (lanes): the sum of |d|.
  void cross_entropy(bool tangent, const Lanes& lanes, const T* panel, Beside& beside) const {
    using Vector = Eigen::Array<T, beyond, 1>;
    using Read = Eigen::Map<const Vector>;
    const Index stride = lanes.count();
    const T half = tangent ? T(0) : T(0.5);
    beside.sum.resize(static_cast<std::size_t>(stride + beyond));
    beside.reach.resize(static_cast<std::size_t>(stride + beyond));
    for (const RowLanes& run : lanes.runs()) {
      const T* p = fact_.data() + run.sample * n_;
      const T* scores = panel + targets_.labels[run.sample] * stride;
      for (Index l = run.begin; l < run.end; l += beyond) {  // what is written behind the run is written again by the next
        const Vector own = Read(scores + l);
        Vector sum = Vector::Zero(), reach = Vector::Zero();
        for (Index c = 0; c < n_; ++c) {
          const Vector d = Read(panel + c * stride + l), change = d - own;
          sum += p[c] * (change + half * change * change);
          reach += d.abs();
        }
        if (!tangent) sum -= sum * sum / 2;  // log1p
        Eigen::Map<Vector>(beside.sum.data() + l) = sum;
        Eigen::Map<Vector>(beside.reach.data() + l) = reach;
      }
    }
  }

  // sum (lanes): the difference forms, or the derivative; the parts of a lane are added in the order of the scores.
  void side_by_side(bool tangent, const Lanes& lanes, const T* panel, Beside& beside) const {
    const Index stride = lanes.count();
    beside.sum.assign(static_cast<std::size_t>(stride), T(0));
    for (std::vector<T>& buffer : beside.base) buffer.resize(static_cast<std::size_t>(stride));
    beside.own.resize(static_cast<std::size_t>(stride));
    for (const RowLanes& run : lanes.runs()) {
      if (!has_labels(targets_.loss)) break;
      const T* scores = panel + targets_.labels[run.sample] * stride;
      std::copy(scores + run.begin, scores + run.end, beside.own.data() + run.begin);
    }
    lanes.stretches<T>([&](Index begin, Index count, const auto& base) {
      T* sum = beside.sum.data() + begin;
      const T* own = beside.own.data() + begin;
      for (Index c = 0; c < n_; ++c) {
        const T* d = panel + c * stride + begin;
        const auto fact = base(fact_.data(), n_, c, beside.base[0].data());
        const T half = tangent ? T(0) : T(0.5);
        switch (targets_.loss) {
          case Loss::binary_cross_entropy: {
            const auto other = base(complement_.data(), n_, c, beside.base[1].data());
            const auto target = base(targets_.values, n_, c, beside.base[2].data());
            for (Index l = 0; l < count; ++l) {
              const T p = fact[l], q = other[l], t = target[l];  // q: 1 - p, accurate when p is near 1
              sum[l] += tangent ? (p * (1 - t) - q * t) * d[l]
                                : (1 - t) * log1p_accurate(p * expm1_accurate(d[l])) +
                                      t * log1p_accurate(q * expm1_accurate(-d[l]));
            }
            break;
          }
          case Loss::hinge:
            for (Index l = 0; l < count; ++l) {
              const T margin = fact[l], change = d[l] - own[l], moved = margin + change;  // none for the true class
              if (tangent) {
                sum[l] += margin > 0 ? change : T(0);
                continue;
              }
              if ((margin > 0) != (moved > 0) || (margin == 0 && change != 0)) lanes.mark(begin + l);
              sum[l] += margin > 0 ? std::max(change, -margin) : std::max(moved, T(0));
            }
            break;
          default:  // squares
#pragma omp simd
            for (Index l = 0; l < count; ++l) sum[l] += d[l] * (2 * fact[l] + (2 * half) * d[l]);
        }
      }
    });
  }

  // A row whose changes are large.
  double by_itself(Index s, T* d) const {
    if (targets_.loss == Loss::softmax_cross_entropy) {
      const T* p = fact_.data() + s * n_;
      const T own = d[targets_.labels[s]];
      T sum = 0, largest = 0;
#pragma omp simd reduction(+ : sum) reduction(max : largest)
      for (Index c = 0; c < n_; ++c) {
        largest = d[c] - own > largest ? d[c] - own : largest;
        sum += p[c] * math::expm1(d[c] - own);
      }
      if (largest <= 1 && sum > T(-0.5)) return static_cast<double>(math::log1p(sum));
    }
    for (Index c = 0; c < n_; ++c) d[c] += scores_[s * n_ + c];
    return value(s, d) - value(s, scores_ + s * n_);
  }

  // The loss of row s of the batch with these scores.
  double value(Index s, const T* scores) const {
    Targets<T> one = targets_;
    if (has_labels(one.loss)) {
      one.labels += s;
    } else {
      one.values += s * n_;
    }
    return data_loss<T>(one, nullptr, scores, Index(1), n_);
  }

  const Targets<T> targets_;
  const T* const scores_;
  const Index n_;
  std::vector<T> fact_;        // (m, n): probabilities, margins or residuals at the base point
  std::vector<T> complement_;  // (m, n): 1 - probabilities, binary
};

}  // namespace gradproof
