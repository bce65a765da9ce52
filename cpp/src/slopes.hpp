// Slopes of the activations, from their forward functions alone.
#pragma once

#include <cmath>
#include <vector>

#include "gradproof/difference.hpp"
#include "gradproof/stencil.hpp"

namespace gradproof {

// Slopes of the elementwise activations at the base point, measured on the forward functions in double.
template <class T>
std::vector<std::vector<T>> measured_slopes(const Point<T>& point) {
  std::vector<std::vector<T>> slopes(point.plan.size());
  for (std::size_t k = 0; k < point.plan.size(); ++k) {
    const Op& op = point.plan[k];
    const auto measure = [&](const auto& f) {
      const Index size = point.m * op.n_in;
      slopes[k].resize(static_cast<std::size_t>(size));
      const T* z = point.input(k);
      for (Index i = 0; i < size; ++i) slopes[k][i] = static_cast<T>(measured_slope(f, static_cast<double>(z[i])));
    };
    switch (op.kind) {
      case Kind::relu:
        measure([](double z) { return z > 0 ? z : 0; });
        break;
      case Kind::leaky_relu:
        measure([slope = op.scalar[0]](double z) { return z > 0 ? z : slope * z; });
        break;
      case Kind::tanh:
        measure([](double z) { return std::tanh(z); });
        break;
      case Kind::sigmoid:
        measure([](double z) { return 1 / (1 + std::exp(-z)); });
        break;
      default:
        break;
    }
  }
  return slopes;
}

}  // namespace gradproof
