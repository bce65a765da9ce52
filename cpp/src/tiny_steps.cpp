#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "gradproof/difference.hpp"

namespace gradproof {
namespace {

// Sizes are kept as their binary logarithms: products of many of them leave the
// range of any number.
template <class T>
class TinySteps {
 public:
  TinySteps(const Point<T> &point, T *steps) : point_(point), steps_(steps) {}

  // reach: the logarithm of what a change of 1 may become before an op behind,
  // relative to the size of what it meets.
  void run() {
    const Op &last = point_.plan.back();
    double reach = scores(last.n_out);
    for (std::size_t k = point_.plan.size(); k-- > 0;) {
      const Op &op = point_.plan[k];
      const Record<T> &record = point_.workspace.records[k];
      switch (op.kind) {
        case Kind::dense:
          reach = std::max(reach, -natural(record.output, op.n_out));
          fill(op.weight, op.n_in * op.n_out, reach + logarithm(largest(point_.input(k), point_.m * op.n_in)));
          fill(op.bias, op.n_out, reach);
          reach += logarithm(norm(op));
          break;
        case Kind::batch_norm: {
          fill(op.weight, op.n_in, reach + logarithm(largest(record.x_hat, point_.m * op.n_in)));
          fill(op.bias, op.n_in, reach);
          const double wide = logarithm(largest(point_.theta + op.weight, op.n_in));
          reach = std::max(reach + wide, 0.0) + logarithm(largest(record.inv_std, op.n_in));
          break;
        }
        case Kind::relu:
        case Kind::leaky_relu:
        case Kind::maxout:
          if (op.kind == Kind::leaky_relu) reach += std::max(0.0, logarithm(std::abs(op.scalar[0])));
          reach = std::max(reach, -natural(point_.input(k), op.n_in));
          break;
        case Kind::dropout:
          reach -= std::log2(op.scalar[0]);
          break;
        default:  // curved at the scale of 1, and nowhere steeper
          reach = std::max(reach, 0.0);
      }
    }
  }

 private:
  static constexpr bool single = sizeof(T) == 4;
  static constexpr double tiny = single ? 40 : 300;
  static constexpr double smallest = single ? -64 : -600;  // natural sizes below this would leave steps no digits

  static double largest(const T *values, Index count) {
    T result = 0;
    for (Index i = 0; i < count; ++i) result = std::max(result, std::abs(values[i]));
    return static_cast<double>(result);
  }

  // Of 0, and of what is not finite, that of 1.
  static double logarithm(double value) { return value > 0 && std::isfinite(value) ? std::log2(value) : 0; }

  // The size that a change meets at kinks, which lie about as far away as the
  // values are large: that of the smallest row where all are large, that of the
  // largest where all are small.
  double natural(const T *values, Index width, const T *others = nullptr) const {
    double least = std::numeric_limits<double>::infinity(), most = 0;
    for (Index s = 0; s < point_.m; ++s) {
      double row = largest(values + s * width, width);
      if (others) row = std::max(row, largest(others + s * width, width));
      if (row > 0) least = std::min(least, row);
      most = std::max(most, row);
    }
    if (most == 0) return 0;
    return std::max(logarithm(std::min(std::max(1.0, least), most)), smallest);
  }

  double scores(Index n) const {
    switch (point_.targets.loss) {
      case Loss::hinge:  // the margin is 1 where the scores are 0
        return -natural(point_.scores(), n, std::vector<T>(static_cast<std::size_t>(point_.m * n), T(1)).data());
      case Loss::mse:
        return -natural(point_.scores(), n, point_.targets.values);
      default:
        return 0;
    }
  }

  // The most that a dense op makes of changes of 1 in all of its inputs.
  double norm(const Op &op) const {
    const auto W = ConstMatrixMap<T>(point_.theta + op.weight, op.n_in, op.n_out);
    return W.template cast<double>().cwiseAbs().colwise().sum().maxCoeff();
  }

  void fill(Index offset, Index count, double size) {
    if (offset < 0) return;
    constexpr double lowest = std::numeric_limits<T>::min_exponent, highest = std::numeric_limits<T>::max_exponent;
    const double exponent = std::clamp(std::floor(-tiny - size), lowest, highest - tiny);
    std::fill(steps_ + offset, steps_ + offset + count, static_cast<T>(std::exp2(exponent)));
  }

  const Point<T> &point_;
  T *const steps_;
};

}  // namespace

template <class T>
void tiny_steps(const Point<T> &point, T *steps) {
  TinySteps<T>(point, steps).run();
}

template void tiny_steps<float>(const Point<float> &, float *);
template void tiny_steps<double>(const Point<double> &, double *);

}  // namespace gradproof
