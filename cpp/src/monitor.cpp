#include "gradproof/monitor.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "gradproof/reduce.hpp"

namespace gradproof {
namespace {

// What is collected per column of a block of columns; arrays, so that the loop over the columns vectorizes.
template <class T>
struct Columns {
  double sum[column_block] = {};
  double squares[column_block] = {};
  T zeros[column_block] = {};  // counts in T: as wide as the data, and exact up to 2^24 rows
  T saturated[column_block] = {};
};

template <class T>
void collect(Columns<T>& columns, const T* y, Index rows, Index n, Index first, Index width, T low, T high) {
  for (Index i = 0; i < rows; ++i) {
    const T* row = y + i * n + first;
#pragma omp simd
    for (Index j = 0; j < width; ++j) {
      const double value = static_cast<double>(row[j]);
      columns.sum[j] += value;
      columns.squares[j] += value * value;
      columns.zeros[j] += row[j] == T(0) ? T(1) : T(0);
      columns.saturated[j] += ((row[j] < low) | (row[j] > high)) ? T(1) : T(0);
    }
  }
}

}  // namespace

template <class T>
void activation_statistics(double* into, const Plan& plan, const Workspace<T>& workspace, Index rows) {
  constexpr T infinity = std::numeric_limits<T>::infinity();
  for (std::size_t k = 0; k < plan.size(); ++k, into += activation_statistics_count) {
    const Op& op = plan[k];
    const bool is_tanh = op.kind == Kind::tanh, is_sigmoid = op.kind == Kind::sigmoid;
    const T low = is_tanh ? T(-0.97) : is_sigmoid ? T(0.03) : -infinity;
    const T high = is_tanh || is_sigmoid ? T(0.97) : infinity;
    double sum = 0, squares = 0, zeros = 0, dead = 0, saturated = 0;
    for_column_blocks(op.n_out, [&](Index first, Index width) {
      Columns<T> columns;
      collect(columns, workspace.records[k].output, rows, op.n_out, first, width, low, high);
      for (Index j = 0; j < width; ++j) {
        sum += columns.sum[j];
        squares += columns.squares[j];
        zeros += static_cast<double>(columns.zeros[j]);
        saturated += static_cast<double>(columns.saturated[j]);
        dead += columns.zeros[j] == static_cast<T>(rows) ? 1 : 0;
      }
    });
    const double count = static_cast<double>(rows * op.n_out), mean = sum / count;
    into[0] = mean;
    into[1] = std::sqrt(std::max(squares / count - mean * mean, 0.0));
    into[2] = zeros / count;
    into[3] = op.kind == Kind::relu ? dead : 0;
    into[4] = saturated / count;
  }
}

template <class T>
void tensor_statistics(double* into, const Index* bounds, Index tensors, const T* theta, const T* before,
                       const T* gradient) {
  for (Index t = 0; t < tensors; ++t, into += tensor_statistics_count) {
    double g = 0, w = 0, change = 0;
#pragma omp simd reduction(+ : g, w, change)
    for (Index i = bounds[t]; i < bounds[t + 1]; ++i) {
      const double step = static_cast<double>(theta[i]) - static_cast<double>(before[i]);
      g += static_cast<double>(gradient[i]) * static_cast<double>(gradient[i]);
      w += static_cast<double>(before[i]) * static_cast<double>(before[i]);
      change += step * step;
    }
    into[0] = std::sqrt(g);
    into[1] = std::sqrt(w);
    into[2] = w > 0 ? std::sqrt(change / w) : 0;
  }
}

#define GRADPROOF_INSTANTIATE(T)                                                                             \
  template void activation_statistics<T>(double*, const Plan&, const Workspace<T>&, Index);                  \
  template void tensor_statistics<T>(double*, const Index*, Index, const T*, const T*, const T*);

GRADPROOF_INSTANTIATE(float)
GRADPROOF_INSTANTIATE(double)
#undef GRADPROOF_INSTANTIATE

}  // namespace gradproof
