#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "difference_forms.hpp"
#include "gradproof/activations.hpp"

namespace gradproof {
namespace {

// All variances are in units of the squared round-off, in double: squares of float gradients underflow in float.
using Squares = Eigen::Array<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;  // (m, width)

// A sum of n products rounds n times; each time by a unit of the partial sum so far. Partial sums grow like a random walk
// or, where all terms have one sign, steadily: var = n/6 sum (a b)^2 + n/9 (sum a b)^2.
double walk(Index n) { return 1 + static_cast<double>(n) / 6; }
double drift(Index n) { return static_cast<double>(n) / 9; }
// Over the rows of a batch the terms may even be equal (hinge, binary inputs) and round the same way every time.
double row_drift(Index m) { return std::pow(static_cast<double>(m) / 6, 2); }

// How many rows share one value in a column, on average: they round the same way, and their errors add up like m, not like
// its root. Values a few units of round-off apart count as one.
template <class T>
double repetition(const T* column, Index m, Index stride) {
  std::vector<T> values(static_cast<std::size_t>(m));
  for (Index s = 0; s < m; ++s) values[static_cast<std::size_t>(s)] = column[s * stride];
  std::sort(values.begin(), values.end());
  Index distinct = 1;
  for (std::size_t s = 1; s < values.size(); ++s) {
    distinct += values[s] - values[s - 1] > 8 * std::numeric_limits<T>::epsilon() * std::abs(values[s]);
  }
  return static_cast<double>(m) / static_cast<double>(distinct);
}

template <class T>
class Rounding {
 public:
  explicit Rounding(const Point<T>& point) : point_(point), m_(point.m) {}

  double run(double input_error, double* error) {
    const std::size_t ops = point_.plan.size();
    const Squares x2 = squares(point_.x, point_.plan.front().n_in);
    moved_.push_back(input_error * input_error * (x2 + x2.mean()));
    for (std::size_t k = 0; k < ops; ++k) moved_.push_back(forward(k));

    const Index n = point_.plan.back().n_out;
    std::vector<T> gradient(static_cast<std::size_t>(point_.theta_size), T(0));
    inner_.resize(ops + 1);
    inner_[ops].resize(static_cast<std::size_t>(m_ * n));
    const double value = data_loss(point_.targets, inner_[ops].data(), point_.scores(), m_, n);
    network_backward(point_.plan, point_.theta, point_.x, m_, inner_[ops].data(), gradient.data(),
                     static_cast<T*>(nullptr), point_.workspace, &inner_);

    Squares above = loss();
    for (std::size_t k = ops; k-- > 0;) above = backward(k, above, gradient.data(), error);
    for (Index i = 0; i < point_.theta_size; ++i) error[i] = std::sqrt(error[i]);
    const double mean_rounding = std::abs(value) * (1 + std::sqrt(drift(n)));
    const Squares lost = squares(inner_[ops].data(), n) * moved_.back();
    return std::sqrt((lost.rowwise() * repetitions(point_.scores(), n).transpose()).sum()) + mean_rounding;
  }

 private:
  const Op& op(std::size_t k) const { return point_.plan[k]; }
  const Record<T>& record(std::size_t k) const { return point_.workspace.records[k]; }

  Squares values(const T* data, Index width) const { return ConstMatrixMap<T>(data, m_, width).template cast<double>(); }
  Squares squares(const T* data, Index width) const { return values(data, width).square(); }
  Squares squared_weights(std::size_t k) const {
    return ConstMatrixMap<T>(point_.theta + op(k).weight, op(k).n_in, op(k).n_out).template cast<double>().array().square();
  }
  Eigen::ArrayXd repetitions(const T* data, Index width) const {
    Eigen::ArrayXd result(width);
    for (Index j = 0; j < width; ++j) result[j] = repetition(data + j, m_, width);
    return result;
  }
  static Squares product(const Squares& a, const Squares& b) { return (a.matrix() * b.matrix()).array(); }

  // |f'| and |f''| of an elementwise activation at z, with a = f(z), and the rounding of f' where it is computed from a.
  struct Slopes {
    double first, second, rounding;
  };
  Slopes slopes(const Op& o, double z, double a) const {
    switch (o.kind) {
      case Kind::tanh:
        return {(1 - a) * (1 + a), 2 * std::abs(a) * (1 - a) * (1 + a), 2 * a * a};
      case Kind::sigmoid:
        return {a * (1 - a), a * (1 - a) * std::abs(1 - 2 * a), a};
      case Kind::leaky_relu:
        return {z > 0 ? 1 : std::abs(o.scalar[0]), 0, 0};
      default:
        return {z > 0 ? 1. : 0., 0, 0};
    }
  }

  // Variance of the output of op k, given that of its input.
  Squares forward(std::size_t k) const {
    const Op& o = op(k);
    const T* x = point_.input(k);
    const T* y = record(k).output;
    const Squares& v = moved_[k];
    const Squares y2 = squares(y, o.n_out);
    switch (o.kind) {
      case Kind::dense:
        return product(v + walk(o.n_in) * squares(x, o.n_in), squared_weights(k)) + drift(o.n_in) * y2;
      case Kind::batch_norm: {
        Squares result = normalized(k);
        for (Index j = 0; j < o.n_in; ++j) result.col(j) *= std::pow(static_cast<double>(point_.theta[o.weight + j]), 2);
        return result + y2;
      }
      case Kind::softmax: {
        const Eigen::ArrayXd common = (y2 * v).rowwise().sum() + 2;
        return y2 * (v.colwise() + common);
      }
      case Kind::maxout: {
        Squares result(m_, o.n_out);
        for (Index i = 0; i < m_ * o.n_out; ++i) {
          result.data()[i] = v.data()[i * o.aux + record(k).winner[i]];
        }
        return result;
      }
      case Kind::dropout:
        return v * squares(record(k).mask, o.n_in) + y2;
      default: {
        Squares result(m_, o.n_in);
        for (Index i = 0; i < result.size(); ++i) {
          // Where rounding decides which side of a kink z is on, the error goes through.
          const bool undecided = std::pow(static_cast<double>(x[i]) / unit, 2) <= 64 * v.data()[i];
          const double first = undecided ? std::max(1.0, slopes(o, x[i], y[i]).first) : slopes(o, x[i], y[i]).first;
          result.data()[i] = first * first * v.data()[i] + (o.kind == Kind::relu ? 0 : y2.data()[i]);
        }
        return result;
      }
    }
  }

  // Relative variance of 1 / sigma for each column of batch norm k.
  Eigen::ArrayXd spread(std::size_t k) const {
    const Index n = op(k).n_in;
    const Squares x_hat2 = squares(record(k).x_hat, n);
    Eigen::ArrayXd result(n);
    for (Index j = 0; j < n; ++j) {
      const double inv_std = record(k).inv_std[j];
      result[j] = 1 + (x_hat2.col(j) * moved_[k].col(j)).sum() * std::pow(inv_std / static_cast<double>(m_), 2);
    }
    return result;
  }

  // Variance of x_hat = (x - mean) / sigma of batch norm k.
  Squares normalized(std::size_t k) const {
    const Index n = op(k).n_in;
    Squares result = squares(record(k).x_hat, n);
    const Eigen::ArrayXd relative = spread(k);
    for (Index j = 0; j < n; ++j) {
      const double inv_std = record(k).inv_std[j], mean = record(k).mean[j];
      const double mean_variance = mean * mean + moved_[k].col(j).sum() / static_cast<double>(m_ * m_);
      result.col(j) = result.col(j) * (relative[j] + 1) + inv_std * inv_std * (moved_[k].col(j) + mean_variance);
    }
    return result;
  }

  // Variance of dJ/dscores.
  Squares loss() const {
    const Index n = point_.plan.back().n_out;
    const Targets<T>& targets = point_.targets;
    const T* scores = point_.scores();
    const Squares& v = moved_.back();
    Squares result = 2 * squares(inner_.back().data(), n);
    const double rows = static_cast<double>(m_), all = static_cast<double>(m_ * n);
    if (targets.loss == Loss::softmax_cross_entropy) {
      std::vector<T> p(static_cast<std::size_t>(m_ * n));
      softmax_forward(p.data(), scores, m_, n);
      const Squares p2 = squares(p.data(), n);
      // Subtracting the largest score rounds, which moves every p by as much.
      const Eigen::ArrayXd common = (p2 * v).rowwise().sum() + squares(scores, n).rowwise().maxCoeff();
      Squares moved = p2 * (v.colwise() + common);
      for (Index s = 0; s < m_; ++s) {
        double& own = moved(s, targets.labels[s]);
        own = 0;
        own = moved.row(s).sum();
      }
      result += moved / (rows * rows);
    } else if (targets.loss == Loss::binary_cross_entropy) {
      for (Index i = 0; i < m_ * n; ++i) {
        const double p = math::sigmoid(static_cast<double>(scores[i]));
        result.data()[i] += p * p * (1 + std::pow(1 - p, 2) * v.data()[i]) / (all * all);
      }
    } else if (targets.loss == Loss::mse) {
      result += 4 * (v + squares(scores, n)) / (all * all);
    }
    return result;
  }

  // Takes the variance of dJ/d(output of op k) to that of dJ/d(its input), and leaves those of its parameters in `error`.
  Squares backward(std::size_t k, const Squares& above, const T* gradient, double* error) const {
    const Op& o = op(k);
    const Index n = o.n_in;
    const double rows = static_cast<double>(m_);
    const T* x = point_.input(k);
    const T* y = record(k).output;
    const Squares& v = moved_[k];
    const Squares dy = values(inner_[k + 1].data(), o.n_out), dy2 = dy.square();
    const Squares dx2 = k > 0 ? squares(inner_[k].data(), n) : Squares::Zero(m_, n);
    switch (o.kind) {
      case Kind::dense: {
        const Eigen::ArrayXd repeated = repetitions(inner_[k + 1].data(), o.n_out), repeated_x = repetitions(x, n);
        const Squares carried = above.rowwise() * repeated.transpose(), own = walk(m_) * dy2;
        const Squares x2 = squares(x, n);
        Eigen::Map<Squares> dW(error + o.weight, n, o.n_out);
        if (repeated.maxCoeff() > 1 && repeated_x.maxCoeff() > 1) {
          const auto both = repeated_x.replicate(1, o.n_out).min(repeated.transpose().replicate(n, 1));
          dW = product(x2.transpose(), carried) + product(x2.transpose(), own) * both;
        } else {
          dW = product(x2.transpose(), carried + own);
        }
        if ((v > 0).any()) dW += product((v.rowwise() * repeated_x.transpose()).transpose(), dy2);
        for (Index i = 0; i < n * o.n_out; ++i) {
          error[o.weight + i] += row_drift(m_) * std::pow(static_cast<double>(gradient[o.weight + i]), 2);
        }
        for (Index j = 0; o.bias >= 0 && j < o.n_out; ++j) {
          error[o.bias + j] = carried.col(j).sum() + repeated[j] * own.col(j).sum() +
                              row_drift(m_) * std::pow(static_cast<double>(gradient[o.bias + j]), 2);
        }
        if (k == 0) return above;
        return product(above + walk(o.n_out) * dy2, squared_weights(k).transpose()) + drift(o.n_out) * dx2;
      }
      case Kind::batch_norm: {
        const Squares x_hat = values(record(k).x_hat, n), x_hat2 = x_hat.square(), x_hat_moved = normalized(k);
        const Eigen::ArrayXd relative = spread(k);
        Squares result(m_, n);
        for (Index j = 0; j < n; ++j) {
          const double scale = static_cast<double>(point_.theta[o.weight + j]) * record(k).inv_std[j];
          const double sum = dy.col(j).sum(), along = (dy.col(j) * x_hat.col(j)).sum();
          const double sum_variance = (above.col(j) + walk(m_) * dy2.col(j)).sum() + row_drift(m_) * sum * sum;
          const double along_variance = (above.col(j) * x_hat2.col(j) + dy2.col(j) * x_hat_moved.col(j) +
                                         walk(m_) * dy2.col(j) * x_hat2.col(j))
                                            .sum() +
                                        row_drift(m_) * along * along;
          const double repeated = repetition(inner_[k + 1].data() + j, m_, n);
          error[o.weight + j] = repeated * along_variance;
          error[o.bias + j] = repeated * sum_variance;
          // What errs in the means and in 1/sigma errs alike in all rows, and adds up in the sums over them below.
          const double mean_variance = (sum_variance + sum * sum) / rows;
          const double along_mean_variance = (along_variance + along * along) / rows;
          result.col(j) = scale * scale *
                              (above.col(j) + dy2.col(j) + mean_variance + x_hat2.col(j) * along_mean_variance +
                               x_hat_moved.col(j) * std::pow(along / rows, 2)) +
                          rows * relative[j] * dx2.col(j);
        }
        return result;
      }
      case Kind::softmax: {
        const Squares a = values(y, n), a2 = a.square();
        const Eigen::ArrayXd common = (a2 * above).rowwise().sum() + (a * dy).rowwise().sum().square();
        const Eigen::ArrayXd moved = (a2 * v).rowwise().sum() + 1;
        return a2 * ((above + dy2).colwise() + common) + (dx2 + a2 * dy2) * (v.colwise() + moved);
      }
      case Kind::maxout: {
        Squares result = Squares::Zero(m_, n);
        for (Index i = 0; i < m_ * o.n_out; ++i) {
          result.data()[i * o.aux + record(k).winner[i]] = above.data()[i];
        }
        return result;
      }
      case Kind::dropout:
        return above * squares(record(k).mask, n) + dx2;
      default: {
        Squares result(m_, n);
        for (Index i = 0; i < result.size(); ++i) {
          const Slopes slope = slopes(o, x[i], y[i]);
          result.data()[i] = slope.first * slope.first * above.data()[i] +
                             dy2.data()[i] * (slope.second * slope.second * v.data()[i] +
                                              slope.rounding * slope.rounding + slope.first * slope.first);
        }
        return result;
      }
    }
  }

  static constexpr double unit = std::numeric_limits<T>::epsilon() / 2;
  const Point<T>& point_;
  const Index m_;
  std::vector<Squares> moved_;         // [k]: variance of the input of op k; the last, of the scores
  std::vector<std::vector<T>> inner_;  // [k]: dJ/d(input of op k); the last, dJ/dscores
};

}  // namespace

template <class T>
double rounding_errors(const Point<T>& point, double input_error, double* error) {
  return Rounding<T>(point).run(input_error, error);
}

template double rounding_errors<float>(const Point<float>&, double, double*);
template double rounding_errors<double>(const Point<double>&, double, double*);

}  // namespace gradproof
