// Checks the gradient of a network from C++: as backpropagation computes it, and with a mistake put into it.
#include <cmath>
#include <cstdio>
#include <limits>
#include <random>
#include <vector>

#include "gradproof/difference.hpp"

using namespace gradproof;

int main() {
  // 4 inputs -> dense, 5 -> tanh -> dense, 3 -> softmax cross-entropy; W (n_in, n_out) and b of each lie one behind the
  // other in theta.
  constexpr Index m = 6, n_in = 4, hidden = 5, classes = 3;
  constexpr Index W2 = n_in * hidden + hidden, size = W2 + hidden * classes + classes;
  const Plan plan{
      {Kind::dense, n_in, hidden, 0, n_in * hidden, 0, {0, 0}},
      {Kind::tanh, hidden, hidden, -1, -1, 0, {0, 0}},
      {Kind::dense, hidden, classes, W2, W2 + hidden * classes, 0, {0, 0}},
  };
  std::mt19937 generator(1);
  std::normal_distribution<double> normal;
  std::vector<double> theta(size), x(m * n_in);
  for (double& value : theta) value = 0.5 * normal(generator);
  for (double& value : x) value = normal(generator);
  const std::vector<std::int64_t> labels{0, 1, 2, 0, 1, 2};
  const Targets<double> targets{Loss::softmax_cross_entropy, labels.data(), nullptr};

  // The gradient under test.
  std::vector<double> memory(static_cast<std::size_t>(lay_out<double>(plan, m, nullptr).size));
  const Workspace<double> workspace = lay_out(plan, m, memory.data());
  network_forward<double>(plan, theta.data(), nullptr, x.data(), m, workspace, true, {0, 0});
  const Point<double> point{plan, theta.data(), size, x.data(), m, targets, workspace};
  std::vector<double> dscores(m * classes), gradient(size);
  const double loss = data_loss(targets, dscores.data(), point.scores(), m, classes);
  network_backward<double>(plan, theta.data(), x.data(), m, dscores.data(), gradient.data(), nullptr, workspace);

  // What every single parameter does to the loss, and how far rounding can move its derivative.
  const double step = std::ldexp(1.0, -300), unit = std::numeric_limits<double>::epsilon() / 2;
  std::vector<double> change(size), error(size);
  structured_pass<double>(point, Scheme::difference, {nullptr, 0, &step, true}, change.data(), nullptr);
  rounding_errors(point, 0.0, error.data());
  const auto mismatches = [&] {
    int count = 0;
    for (Index i = 0; i < size; ++i) count += !(std::fabs(gradient[i] - change[i] / step) <= 12 * unit * error[i]);
    return count;
  };

  const int as_computed = mismatches();
  gradient[7] *= 1 + 1e-9;
  const int with_mistake = mismatches();
  std::printf("loss %.6f, %d parameters: %d mismatches; with one of them off by 1e-9: %d\n", loss, int(size),
              as_computed, with_mistake);
  return as_computed == 0 && with_mistake == 1 ? 0 : 1;
}
