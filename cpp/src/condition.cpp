#include <algorithm>
#include <cmath>
#include <vector>

#include "difference_forms.hpp"
#include "gradproof/activations.hpp"
#include "gradproof/dense.hpp"

namespace gradproof {
namespace {

// |dJ/dscores|, ties counted as active. p and 1 - p stand for themselves, so that saturated rows keep their accuracy.
template <class T>
std::vector<T> loss_condition(const Point<T>& point) {
  const Index m = point.m, n = point.plan.back().n_out;
  const Targets<T>& targets = point.targets;
  const T* scores = point.scores();
  std::vector<T> bound(static_cast<std::size_t>(m * n));
  if (targets.loss == Loss::hinge) {
    for (Index s = 0; s < m; ++s) {
      T* row = bound.data() + s * n;
      const Index y = targets.labels[s];
      for (Index c = 0; c < n; ++c) {
        if (c == y || scores[s * n + c] - scores[s * n + y] + 1 < 0) continue;
        row[c] += 1 / static_cast<T>(m);
        row[y] += 1 / static_cast<T>(m);
      }
    }
    return bound;
  }
  data_loss(targets, bound.data(), scores, m, n);
  for (Index i = 0; i < m * n; ++i) {
    bound[static_cast<std::size_t>(i)] = std::abs(bound[static_cast<std::size_t>(i)]);
  }
  if (!has_labels(targets.loss)) {  // p - t is the difference of two roundings
    for (Index i = 0; i < m * n; ++i) {
      const T p = targets.loss == Loss::mse ? scores[i] : math::sigmoid(scores[i]);
      const T scale = (targets.loss == Loss::mse ? T(2) : T(1)) / static_cast<T>(m * n);
      bound[static_cast<std::size_t>(i)] += scale * std::abs(p) / 4;
    }
  }
  return bound;
}

// An upper bound of |f'(z)|, ties counted as active, with the rounding of a slope computed from a = f(z) added in.
template <class T>
T slope_condition(const Op& op, T z, T a) {
  switch (op.kind) {
    case Kind::relu:
      return z >= 0 ? T(1) : T(0);
    case Kind::leaky_relu:
      return z == 0 ? std::max(T(1), std::abs(static_cast<T>(op.scalar[0])))
                    : (z > 0 ? T(1) : std::abs(static_cast<T>(op.scalar[0])));
    case Kind::tanh:
      return (1 - a) * (1 + a) + a * a / 8;
    default:
      return a * (1 - a) + a / 8;
  }
}

}  // namespace

template <class T>
void condition_numbers(const Point<T>& point, double* condition) {
  const Index m = point.m;
  std::vector<T> above = loss_condition(point), below, weights;
  const auto at = [](std::vector<T>& values, Index i) -> T& { return values[static_cast<std::size_t>(i)]; };
  for (std::size_t k = point.plan.size(); k-- > 0;) {
    const Op& op = point.plan[k];
    const Record<T>& record = point.workspace.records[k];
    const T* z = point.input(k);
    const Index n = op.n_in;
    below.assign(static_cast<std::size_t>(m * n), T(0));
    switch (op.kind) {
      case Kind::dense: {
        weights.resize(static_cast<std::size_t>(n * op.n_out));
        for (Index i = 0; i < n * op.n_out; ++i) at(weights, i) = std::abs(point.theta[op.weight + i]);
        const Matrix<T> input = ConstMatrixMap<T>(z, m, n).cwiseAbs();
        std::vector<T> dW(weights.size(), T(0)), db(static_cast<std::size_t>(op.n_out), T(0));
        dense_backward(below.data(), dW.data(), db.data(), above.data(), input.data(), weights.data(), m, n, op.n_out);
        std::copy(dW.begin(), dW.end(), condition + op.weight);
        if (op.bias >= 0) std::copy(db.begin(), db.end(), condition + op.bias);
        break;
      }
      case Kind::batch_norm:
        for (Index j = 0; j < n; ++j) {
          T sum = 0, along = 0;
          for (Index s = 0; s < m; ++s) {
            sum += at(above, s * n + j);
            along += at(above, s * n + j) * std::abs(record.x_hat[s * n + j]);
          }
          condition[op.weight + j] = static_cast<double>(along);
          condition[op.bias + j] = static_cast<double>(sum);
          const T scale = std::abs(point.theta[op.weight + j]) * record.inv_std[j];
          for (Index s = 0; s < m; ++s) {
            at(below, s * n + j) = scale * (at(above, s * n + j) + sum / static_cast<T>(m) +
                                            std::abs(record.x_hat[s * n + j]) * along / static_cast<T>(m));
          }
        }
        break;
      case Kind::softmax:
        for (Index s = 0; s < m; ++s) {
          T sum = 0;
          for (Index c = 0; c < n; ++c) sum += record.output[s * n + c] * at(above, s * n + c);
          for (Index c = 0; c < n; ++c) {
            at(below, s * n + c) = record.output[s * n + c] * (at(above, s * n + c) + sum);
          }
        }
        break;
      case Kind::maxout:
        for (Index i = 0; i < m * n; ++i) {
          const Index unit = i / op.aux;
          if (z[i] == record.output[unit]) at(below, i) = at(above, unit);
        }
        break;
      case Kind::dropout:
        for (Index i = 0; i < m * n; ++i) at(below, i) = at(above, i) * record.mask[i];
        break;
      default:
        for (Index i = 0; i < m * n; ++i) at(below, i) = at(above, i) * slope_condition(op, z[i], record.output[i]);
    }
    above.swap(below);
  }
}

template void condition_numbers<float>(const Point<float>&, double*);
template void condition_numbers<double>(const Point<double>&, double*);

}  // namespace gradproof
