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
    std::vector<RowLanes> far;  // single lanes
  };

  // The panel is read in whole vectors: up to so many numbers behind its end.
  static constexpr Index beyond = 64 / sizeof(T);

  // panel (n, lanes): changed scores (difference), their derivatives (tangent), or the perturbed scores themselves (loss).
  // change (lanes): of the loss of the row, or (loss) that loss.
  void lanes(Scheme scheme, const Lanes& lanes, const T* panel, double* change, Beside& beside) const {
    const Index stride = lanes.count();
    const bool tangent = scheme == Scheme::tangent, entropy = targets_.loss == Loss::softmax_cross_entropy;
    const auto scores = [panel, stride](Index c, Index lane) { return panel[c * stride + lane]; };
    if (scheme == Scheme::loss) {
      for (const RowLanes& run : lanes.runs()) {
        for (Index l = run.begin; l < run.end; ++l) change[l] = value(run.sample, row(scores, l, beside));
      }
      return;
    }
    if (entropy) {
      cross_entropy(tangent, lanes, panel, beside);
    } else {
      side_by_side(tangent, lanes, panel, beside);
    }
    std::copy(beside.sum.begin(), beside.sum.begin() + stride, change);
    const double parts = has_labels(targets_.loss) ? 1 : static_cast<double>(n_);  // the mean is over all elements
    for (Index l = 0; parts > 1 && l < stride; ++l) change[l] /= parts;
    if (tangent || (entropy ? all_tiny(beside.reach.data(), stride, limit()) : all_tiny(panel, n_ * stride, limit()))) return;
    far(lanes, scores, change, beside, [&](Index l) {
      return entropy ? beside.reach[static_cast<std::size_t>(l)] < limit() : all_tiny(row(scores, l, beside), n_, limit());
    });
  }

  // The same for scores that all lanes move along one direction (n), by start (lanes), without a panel. For the cross entropy
  // only, which is then a parabola of each row of the batch; not for the loss itself.
  void along(bool tangent, const Lanes& lanes, const T* start, const T* direction, double* change, Beside& beside) const {
    T reach = 0;
    for (Index c = 0; c < n_; ++c) reach += std::abs(direction[c]);
    constexpr int most = std::numeric_limits<T>::max_exponent - 2;  // neither of the two below overflows
    int exponent = most;  // squares of the direction might overflow
    if (std::isfinite(reach)) std::frexp(reach, &exponent);
    exponent = std::clamp(exponent, -most, most);
    const T size = std::ldexp(T(1), exponent), scale = std::ldexp(T(1), -exponent);
    const T half = tangent ? T(0) : T(0.5);
    for (const RowLanes& run : lanes.runs()) {
      const T* p = fact_.data() + run.sample * n_;
      const T own = scale * direction[targets_.labels[run.sample]];
      T slope = 0, bend = 0;
      for (Index c = 0; c < n_; ++c) {
        const T off = scale * direction[c] - own;
        slope += p[c] * off;
        bend += p[c] * off * off;
      }
#pragma omp simd
      for (Index l = run.begin; l < run.end; ++l) {
        const T d = size * start[l], sum = d * (slope + half * bend * d);
        change[l] = static_cast<double>(sum - half * sum * sum);  // log1p
      }
    }
    const auto near = [&](Index l) { return std::abs(start[l]) * reach < limit(); };
    Index others = 0;
    for (Index l = 0; l < lanes.count(); ++l) others += near(l) ? 0 : 1;
    if (tangent || others == 0) return;
    far(lanes, [&](Index c, Index l) { return start[l] * direction[c]; }, change, beside, near);
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

  // Lanes that are not near, by themselves.
  template <class Scores, class Near>
  void far(const Lanes& lanes, const Scores& scores, double* change, Beside& beside, const Near& near) const {
    beside.far.clear();
    for (const RowLanes& run : lanes.runs()) {
      for (Index l = run.begin; l < run.end; ++l) {
        if (near(l)) continue;
        change[l] = std::numeric_limits<double>::quiet_NaN();
        beside.far.push_back({run.sample, l, l + 1});
      }
    }
    if (targets_.loss == Loss::softmax_cross_entropy) far_entropy(scores, change, beside);
    for (const RowLanes& one : beside.far) {
      if (!std::isnan(change[one.begin])) continue;
      T* d = row(scores, one.begin, beside);
      for (Index c = 0; c < n_; ++c) d[c] += scores_[one.sample * n_ + c];
      change[one.begin] = value(one.sample, d) - value(one.sample, scores_ + one.sample * n_);
    }
  }

  // The cross entropy of far lanes by its form, where that holds; some side by side.
  template <class Scores>
  void far_entropy(const Scores& scores, double* change, const Beside& beside) const {
    constexpr Index width = beyond;
    const Index count = static_cast<Index>(beside.far.size());
    for (Index first = 0; first < count; first += width) {
      const T* p[width];
      Index lane[width];
      T own[width], sum[width] = {}, largest[width] = {};
      for (Index i = 0; i < width; ++i) {
        const RowLanes& one = beside.far[static_cast<std::size_t>(std::min(first + i, count - 1))];
        lane[i] = one.begin;
        p[i] = fact_.data() + one.sample * n_;
        own[i] = scores(targets_.labels[one.sample], one.begin);
      }
      for (Index c = 0; c < n_; ++c) {
        T d[width], probability[width];
        for (Index i = 0; i < width; ++i) {
          d[i] = scores(c, lane[i]) - own[i];
          probability[i] = p[i][c];
        }
#pragma omp simd
        for (Index i = 0; i < width; ++i) {
          largest[i] = d[i] > largest[i] ? d[i] : largest[i];
          sum[i] += probability[i] * math::expm1(d[i]);
        }
      }
      for (Index i = 0; i < std::min(width, count - first); ++i) {
        if (largest[i] <= 1 && sum[i] > T(-0.5)) change[lane[i]] = static_cast<double>(math::log1p(sum[i]));
      }
    }
  }

  // The scores of one lane, next to each other.
  template <class Scores>
  T* row(const Scores& scores, Index lane, Beside& beside) const {
    beside.row.resize(static_cast<std::size_t>(n_));
    for (Index c = 0; c < n_; ++c) beside.row[static_cast<std::size_t>(c)] = scores(c, lane);
    return beside.row.data();
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
