#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>
#include <vector>

#include "difference_forms.hpp"
#include "gradproof/activations.hpp"

namespace gradproof {
namespace {

// All variances are in units of the squared round-off, of type S: squares of float gradients underflow in float, those of
// large double ones overflow in double.
template <class S>
using SquaresOf = Eigen::Array<S, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;  // (m, width)

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

template <class T, class S>
class Rounding {
  using Squares = SquaresOf<S>;
  using Column = Eigen::Array<S, Eigen::Dynamic, 1>;

 public:
  Rounding(const Point<T>& point, const T* steps) : point_(point), steps_(steps), m_(point.m) {}

  // Whether everything came out finite.
  bool run(double input_error, double* error, double& loss_error) {
    const std::size_t ops = point_.plan.size();
    alike_ = rows_alike();
    const Squares x2 = squares(point_.x, point_.plan.front().n_in);
    moved_.push_back(input_error * input_error * (x2 + x2.mean()));
    for (std::size_t k = 0; k < ops; ++k) moved_.push_back(forward(k) + floor);

    const Index n = point_.plan.back().n_out;
    std::vector<T> gradient(static_cast<std::size_t>(point_.theta_size), T(0));
    inner_.resize(ops + 1);
    inner_[ops].resize(static_cast<std::size_t>(m_ * n));
    const double value = data_loss(point_.targets, inner_[ops].data(), point_.scores(), m_, n);
    network_backward(point_.plan, point_.theta, point_.x, m_, inner_[ops].data(), gradient.data(),
                     static_cast<T*>(nullptr), point_.workspace, &inner_);

    std::vector<S> wide(std::is_same_v<S, double> ? 0 : static_cast<std::size_t>(point_.theta_size), S(0));
    S* squared = wide.data();
    if constexpr (std::is_same_v<S, double>) squared = error;
    Squares above = loss();
    S behind = static_cast<S>(n);  // what absolute errors of 1 in all changes behind an op do to the loss
    for (std::size_t k = ops; k-- > 0;) {
      above = backward(k, above, gradient.data(), squared);
      const S here = values(inner_[k + 1].data(), op(k).n_out).abs().sum();
      add_lost(op(k), behind + here, squared);
      behind += op(k).kind == Kind::dense ? here * static_cast<S>(1 + op(k).n_in) : here;
    }
    for (Index i = 0; i < point_.theta_size; ++i) error[i] = static_cast<double>(std::sqrt(squared[i]));
    const double mean_rounding = std::abs(value) * (1 + std::sqrt(drift(n)));
    const Squares lost = squares(inner_[ops].data(), n) * moved_.back();
    const S scores = (lost.rowwise() * repetitions(point_.scores(), n).transpose()).sum();
    loss_error = static_cast<double>(std::sqrt(scores)) + mean_rounding;
    const auto finite = [](double e) { return std::isfinite(e); };
    return finite(loss_error) && std::all_of(error, error + point_.theta_size, finite);
  }

 private:
  const Op& op(std::size_t k) const { return point_.plan[k]; }
  const Record<T>& record(std::size_t k) const { return point_.workspace.records[k]; }

  Squares values(const T* data, Index width) const { return ConstMatrixMap<T>(data, m_, width).template cast<S>(); }
  Squares squares(const T* data, Index width) const { return values(data, width).square(); }
  Squares squared_weights(std::size_t k) const {
    return ConstMatrixMap<T>(point_.theta + op(k).weight, op(k).n_in, op(k).n_out).template cast<S>().array().square();
  }
  Column repetitions(const T* data, Index width) const {
    Column result(width);
    for (Index j = 0; j < width; ++j) result[j] = repetition(data + j, m_, width);
    return result;
  }
  static Squares product(const Squares& a, const Squares& b) { return (a.matrix() * b.matrix()).array(); }

  // [k]: whether all rows of the input of op k are the same, and with them their errors.
  std::vector<bool> rows_alike() const {
    const Index n = point_.plan.front().n_in;
    bool alike = true;
    for (Index s = 1; s < m_; ++s) alike = alike && std::equal(point_.x, point_.x + n, point_.x + s * n);
    std::vector<bool> result{alike};
    for (const Op& o : point_.plan) {
      const bool one = o.kind == Kind::softmax && o.n_out == 1;  // 1 in all rows
      result.push_back(one || (result.back() && (m_ == 1 || o.kind != Kind::dropout)));
    }
    return result;
  }

  // What underflow takes from the changes that carry the measured derivatives: half of the smallest number each time.
  void add_lost(const Op& o, S amplification, S* error) const {
    const auto add = [&](Index offset, Index count) {
      if (offset < 0) return;
      const S lost = std::numeric_limits<T>::min() / static_cast<S>(steps_[offset]) * amplification;
      for (Index i = offset; i < offset + count; ++i) error[i] += lost * lost;
    };
    add(o.weight, o.kind == Kind::dense ? o.n_in * o.n_out : o.n_out);
    add(o.bias, o.n_out);
  }

  // |f'| and |f''| of an elementwise activation at z, with a = f(z), and the rounding of f' where it is computed from a.
  // Where the error of z is not small, the largest that may occur within three standard deviations.
  struct Slopes {
    S first, second, rounding;

    // Variance of the slope itself; no slope of a curve is above 1.
    S variance(S v) const { return std::min(second * second * v + rounding * rounding, 1 / unit2); }
  };
  Slopes slopes(const Op& o, S z, S a, S v) const {
    const bool curved = o.kind == Kind::tanh || o.kind == Kind::sigmoid;
    if (curved && v * unit2 > S(0x1p-10)) {
      const S nearest = std::max(S(0), std::abs(z) - 3 * unit * std::sqrt(v));
      const S value = o.kind == Kind::tanh ? std::tanh(nearest) : 1 / (1 + std::exp(-nearest));
      const Slopes there = slopes(o, nearest, value, S(0));
      return {there.first, 2 * there.first, there.rounding};
    }
    switch (o.kind) {
      case Kind::tanh:
        return {(1 - a) * (1 + a), 2 * std::abs(a) * (1 - a) * (1 + a), 2 * a * a};
      case Kind::sigmoid:
        return {a * (1 - a), a * (1 - a) * std::abs(1 - 2 * a), a};
      case Kind::leaky_relu:
        return {z > 0 ? S(1) : std::abs(static_cast<S>(o.scalar[0])), 0, 0};
      default:
        return {z > 0 ? S(1) : S(0), 0, 0};
    }
  }

  // Relative variance of exp(z), given the variance of z.
  static Squares grown(const Squares& v) {
    return v.unaryExpr([](S one) {
      if (!(one * unit2 > S(0x1p-10))) return one;
      const S size = std::expm1(std::min(3 * unit * std::sqrt(one), S(60))) / (3 * unit);
      return size * size;
    });
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
        for (Index j = 0; j < o.n_in; ++j) result.col(j) *= square(point_.theta[o.weight + j]);
        return result + y2;
      }
      case Kind::softmax: {
        const Squares relative = grown(v);
        const Column common = (y2 * relative).rowwise().sum() + 2;
        return (y2 * (relative.colwise() + common)).min(1 / unit2);
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
          const S moved = v.data()[i], slope = slopes(o, x[i], y[i], moved).first;
          const bool undecided = square(x[i] / static_cast<S>(unit)) <= 64 * moved;
          const S first = undecided ? std::max(S(1), slope) : slope;
          result.data()[i] = first * first * moved + (o.kind == Kind::relu ? S(0) : y2.data()[i]);
          if (o.kind == Kind::tanh || o.kind == Kind::sigmoid) result.data()[i] = std::min(result.data()[i], 4 / unit2);
        }
        return result;
      }
    }
  }

  // Variance of x - mean in column j of batch norm k. What errs alike in all rows is subtracted;
  // one row is its own mean.
  Column centred(std::size_t k, Index j) const {
    const S rows = static_cast<S>(m_);
    const Column v = moved_[k].col(j);
    const S rounded = m_ > 1 ? square(record(k).mean[j]) : S(0);
    if (alike_[k]) return Column::Constant(m_, rounded);
    return v * (1 - 2 / rows) + (v.sum() / (rows * rows) + rounded);
  }

  // Relative variance of 1 / sigma for each column of batch norm k; sigma is not below the root of epsilon.
  Column spread(std::size_t k) const {
    const Index n = op(k).n_in;
    const Squares x_hat2 = squares(record(k).x_hat, n);
    const S rows = static_cast<S>(m_);
    Column result(n);
    for (Index j = 0; j < n; ++j) {
      const S inv_std2 = square(record(k).inv_std[j]);
      const S along = (x_hat2.col(j) * moved_[k].col(j)).sum() * inv_std2 / (rows * rows);
      const S across = unit * inv_std2 * centred(k, j).sum() / (2 * rows);
      const S most = std::max(S(1), 1 / (static_cast<S>(op(k).scalar[0]) * inv_std2));
      result[j] = 1 + std::min(along + across * across, most / unit2);
    }
    return result;
  }

  // Variance of x_hat = (x - mean) / sigma of batch norm k, of which none is beyond the root of m - 1.
  Squares normalized(std::size_t k) const {
    const Index n = op(k).n_in;
    Squares result = squares(record(k).x_hat, n);
    const Column relative = spread(k);
    for (Index j = 0; j < n; ++j) {
      const Column moved = square(record(k).inv_std[j]) * centred(k, j);
      result.col(j) = result.col(j) * (relative[j] + 1) + moved * (1 + unit2 * relative[j]);
    }
    return result.min(4 * static_cast<S>(m_ - 1) / unit2);
  }

  // Variance of dJ/dscores.
  Squares loss() const {
    const Index n = point_.plan.back().n_out;
    const Targets<T>& targets = point_.targets;
    const T* scores = point_.scores();
    const Squares& v = moved_.back();
    Squares result = 2 * squares(inner_.back().data(), n);
    const S rows = static_cast<S>(m_), all = static_cast<S>(m_ * n);
    if (targets.loss == Loss::softmax_cross_entropy) {
      std::vector<T> p(static_cast<std::size_t>(m_ * n));
      softmax_forward(p.data(), scores, m_, n);
      const Squares p2 = squares(p.data(), n);
      // Subtracting the largest score rounds, which moves every p by as much.
      const Squares relative = grown(v);
      const Column common = (p2 * relative).rowwise().sum() + squares(scores, n).rowwise().maxCoeff();
      Squares moved = (p2 * (relative.colwise() + common)).min(1 / unit2);
      for (Index s = 0; s < m_; ++s) {
        S& own = moved(s, targets.labels[s]);
        own = 0;
        own = moved.row(s).sum();
      }
      result += moved / (rows * rows);
    } else if (targets.loss == Loss::binary_cross_entropy) {
      for (Index i = 0; i < m_ * n; ++i) {
        const double p = math::sigmoid(static_cast<double>(scores[i]));
        const S slope = slopes({Kind::sigmoid, 1, 1, -1, -1, 0, {0, 0}}, scores[i], p, v.data()[i]).first;
        result.data()[i] += (static_cast<S>(p * p) + std::min(slope * slope * v.data()[i], 1 / unit2)) / (all * all);
      }
    } else if (targets.loss == Loss::mse) {
      result += 4 * (v + squares(scores, n)) / (all * all);
    }
    return result + floor;
  }

  // Takes the variance of dJ/d(output of op k) to that of dJ/d(its input), and leaves those of its parameters in `error`.
  Squares backward(std::size_t k, const Squares& above, const T* gradient, S* error) const {
    const Op& o = op(k);
    const Index n = o.n_in;
    const S rows = static_cast<S>(m_);
    const T* x = point_.input(k);
    const T* y = record(k).output;
    const Squares& v = moved_[k];
    const Squares dy = values(inner_[k + 1].data(), o.n_out), dy2 = dy.square();
    const Squares dx2 = k > 0 ? squares(inner_[k].data(), n) : Squares::Zero(m_, n);
    switch (o.kind) {
      case Kind::dense: {
        const Column repeated = repetitions(inner_[k + 1].data(), o.n_out), repeated_x = repetitions(x, n);
        const Squares carried = above.rowwise() * repeated.transpose(), own = walk(m_) * dy2;
        const Squares x2 = squares(x, n) + unit2 * v;
        Eigen::Map<Squares> dW(error + o.weight, n, o.n_out);
        if (repeated.maxCoeff() > 1 && repeated_x.maxCoeff() > 1) {
          const auto both = repeated_x.replicate(1, o.n_out).min(repeated.transpose().replicate(n, 1));
          dW = product(x2.transpose(), carried) + product(x2.transpose(), own) * both;
        } else {
          dW = product(x2.transpose(), carried + own);
        }
        if ((v > 0).any()) dW += product((v.rowwise() * repeated_x.transpose()).transpose(), dy2);
        for (Index i = 0; i < n * o.n_out; ++i) {
          error[o.weight + i] += row_drift(m_) * square(gradient[o.weight + i]) + floor;
        }
        for (Index j = 0; o.bias >= 0 && j < o.n_out; ++j) {
          error[o.bias + j] = carried.col(j).sum() + repeated[j] * own.col(j).sum() +
                              row_drift(m_) * square(gradient[o.bias + j]) + floor;
        }
        if (k == 0) return above;
        return product(above + walk(o.n_out) * dy2, squared_weights(k).transpose()) +
               (drift(o.n_out) * dx2 + floor);
      }
      case Kind::batch_norm: {
        const Squares x_hat = values(record(k).x_hat, n), x_hat2 = x_hat.square(), x_hat_moved = normalized(k);
        const Column relative = spread(k);
        Squares result = Squares::Zero(m_, n);
        for (Index j = 0; j < n; ++j) {
          const S scale = static_cast<S>(point_.theta[o.weight + j]) * record(k).inv_std[j];
          const S sum = dy.col(j).sum(), along = (dy.col(j) * x_hat.col(j)).sum();
          const S sum_variance = (above.col(j) + walk(m_) * dy2.col(j)).sum() + row_drift(m_) * sum * sum;
          const S along_variance = (above.col(j) * x_hat2.col(j) + dy2.col(j) * x_hat_moved.col(j) +
                                         walk(m_) * dy2.col(j) * x_hat2.col(j))
                                            .sum() +
                                        row_drift(m_) * along * along;
          const S repeated = repetition(inner_[k + 1].data() + j, m_, n);
          error[o.weight + j] = repeated * along_variance;
          error[o.bias + j] = repeated * sum_variance;
          if (m_ == 1) continue;  // dy - mean dy, of one row
          // What errs in the means and in 1/sigma errs alike in all rows, and adds up in the sums over them below.
          const S mean_variance = (sum_variance + sum * sum) / rows;
          const S along_mean_variance = (along_variance + along * along) / rows;
          result.col(j) = scale * scale *
                              (above.col(j) + dy2.col(j) + mean_variance + x_hat2.col(j) * along_mean_variance +
                               x_hat_moved.col(j) * square(along / rows)) *
                              (1 + unit2 * relative[j]) +
                          rows * relative[j] * dx2.col(j);
        }
        return result;
      }
      case Kind::softmax: {
        const Squares a = values(y, n), a2 = a.square();
        const Column common = (a2 * above).rowwise().sum() + (a * dy).rowwise().sum().square();
        const Squares exponent = grown(v);
        const Column moved = (a2 * exponent).rowwise().sum() + 1;
        const Squares relative = exponent.colwise() + moved;
        return a2 * ((above + dy2).colwise() + common) * (1 + unit2 * relative) + (dx2 + a2 * dy2) * relative + floor;
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
          const Slopes slope = slopes(o, x[i], y[i], v.data()[i]);
          const S first2 = slope.first * slope.first, variance = slope.variance(v.data()[i]);
          result.data()[i] = (first2 + unit2 * variance) * above.data()[i] + dy2.data()[i] * (variance + first2) + floor;
        }
        return result;
      }
    }
  }

  template <class V>
  static S square(V value) {
    return static_cast<S>(value) * static_cast<S>(value);
  }

  static constexpr double unit = std::numeric_limits<T>::epsilon() / 2;
  static constexpr S unit2 = S(unit) * S(unit);
  // Half of the smallest number, which is what underflow takes, in units of round-off; squared.
  static constexpr S floor = S(std::numeric_limits<T>::min()) * S(std::numeric_limits<T>::min());
  const Point<T>& point_;
  const T* const steps_;
  const Index m_;
  std::vector<bool> alike_;
  std::vector<Squares> moved_;         // [k]: variance of the input of op k; the last, of the scores
  std::vector<std::vector<T>> inner_;  // [k]: dJ/d(input of op k); the last, dJ/dscores
};

}  // namespace

template <class T>
double rounding_errors(const Point<T>& point, double input_error, double* error) {
  std::vector<T> steps(static_cast<std::size_t>(point.theta_size), T(1));
  tiny_steps(point, steps.data());
  double loss_error = 0;
  if (!Rounding<T, double>(point, steps.data()).run(input_error, error, loss_error)) {
    Rounding<T, long double>(point, steps.data()).run(input_error, error, loss_error);
  }
  return loss_error;
}

template double rounding_errors<float>(const Point<float>&, double, double*);
template double rounding_errors<double>(const Point<double>&, double, double*);

}  // namespace gradproof
