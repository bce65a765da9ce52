// Products accumulated in twice the precision of their factors.
#pragma once

#include <algorithm>
#include <vector>

#include "math.hpp"
#include "types.hpp"

namespace gradproof {

// A sum of products, one accumulator per column: in double for float, whose products are exact in it; for double as an
// unevaluated sum high + low, by error-free transformations. Where there is no fused multiply-add to find the error of a
// product with, long double takes their place.
// Reference: T. Ogita, S. M. Rump, S. Oishi, Accurate sum and dot product, SIAM J. Sci. Comput. 26 (2005), algorithm Dot2.
template <class T>
class WideAccumulator;

template <>
class WideAccumulator<float> {
 public:
  explicit WideAccumulator(Index n) : sum_(static_cast<std::size_t>(n)) {}
  void reset() { std::fill(sum_.begin(), sum_.end(), 0.0); }
  // sum += a b, column by column.
  void add(float a, const float* b) {
    double* sum = sum_.data();
    const Index n = static_cast<Index>(sum_.size());
    const double factor = static_cast<double>(a);
#pragma omp simd
    for (Index j = 0; j < n; ++j) sum[j] += factor * static_cast<double>(b[j]);
  }
  float value(Index j) const { return static_cast<float>(sum_[static_cast<std::size_t>(j)]); }

 private:
  std::vector<double> sum_;
};

template <>
class WideAccumulator<double> {
 public:
  explicit WideAccumulator(Index n) : high_(static_cast<std::size_t>(n)), low_(static_cast<std::size_t>(n)) {}
  void reset() {
    std::fill(high_.begin(), high_.end(), 0);
    std::fill(low_.begin(), low_.end(), 0);
  }
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
  void add(double a, const double* b) {
    double *high = high_.data(), *low = low_.data();
    const Index n = static_cast<Index>(high_.size());
#pragma omp simd
    for (Index j = 0; j < n; ++j) {
      const double product = a * b[j];
      const double product_error = math::madd(a, b[j], -product);
      const double sum = high[j] + product;
      const double part = sum - high[j];
      const double sum_error = (high[j] - (sum - part)) + (product - part);
      high[j] = sum;
      low[j] += product_error + sum_error;
    }
  }

 private:
  std::vector<double> high_, low_;
#else
  void add(double a, const double* b) {
    for (std::size_t j = 0; j < high_.size(); ++j) high_[j] += static_cast<long double>(a) * b[j];
  }

 private:
  std::vector<long double> high_, low_;
#endif

 public:
  double value(Index j) const {
    return static_cast<double>(high_[static_cast<std::size_t>(j)] + low_[static_cast<std::size_t>(j)]);
  }
};

// y = x W + b, as dense_forward; b may be null.
template <class T>
void careful_dense_forward(T* y, const T* x, const T* W, const T* b, Index m, Index n_in, Index n_out) {
  WideAccumulator<T> sum(n_out);
  for (Index s = 0; s < m; ++s) {
    sum.reset();
    for (Index i = 0; i < n_in; ++i) sum.add(x[s * n_in + i], W + i * n_out);
    if (b) sum.add(T(1), b);
    for (Index j = 0; j < n_out; ++j) y[s * n_out + j] = sum.value(j);
  }
}

}  // namespace gradproof
