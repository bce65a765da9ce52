// Elementwise activations and softmax. A NaN in x comes out as NaN. Outputs may be the inputs (in place).
#pragma once

#include <limits>

#include "math.hpp"

namespace gradproof {

// dx[i] = f(dy[i], v[i]) for i < size; dx may be dy or v.
template <class T, class F>
GRADPROOF_INLINE void map_backward(T* dx, const T* dy, const T* v, Index size, F f) {
#pragma omp simd
  for (Index i = 0; i < size; ++i) dx[i] = f(dy[i], v[i]);
}

// y = max(x, 0), dy/dx = 1 for x > 0 and 0 for x <= 0.
template <class T>
void relu_forward(T* y, const T* x, Index size) {
  math::map(y, x, size, [](T x) { return x < 0 ? T(0) : x; });
}
template <class T>
void relu_backward(T* dx, const T* dy, const T* x, Index size) {
  map_backward(dx, dy, x, size, [](T dy, T x) { return x > 0 ? dy : T(0); });
}

// y = x for x > 0 and slope x for x <= 0.
template <class T>
void leaky_relu_forward(T* y, const T* x, Index size, T slope) {
  math::map(y, x, size, [slope](T x) { return x > 0 ? x : slope * x; });
}
template <class T>
void leaky_relu_backward(T* dx, const T* dy, const T* x, Index size, T slope) {
  map_backward(dx, dy, x, size, [slope](T dy, T x) { return x > 0 ? dy : slope * dy; });
}

// dy/dx = 1 - y^2, as a product: 1 - y^2 itself loses digits where y is close to 1.
template <class T>
void tanh_forward(T* y, const T* x, Index size) {
  math::map(y, x, size, [](T x) { return math::tanh(x); });
}
template <class T>
void tanh_backward(T* dx, const T* dy, const T* y, Index size) {
  map_backward(dx, dy, y, size, [](T dy, T y) { return dy * ((1 - y) * (1 + y)); });
}

// dy/dx = y (1 - y)
template <class T>
void sigmoid_forward(T* y, const T* x, Index size) {
  math::map(y, x, size, [](T x) { return math::sigmoid(x); });
}
template <class T>
void sigmoid_backward(T* dx, const T* dy, const T* y, Index size) {
  map_backward(dx, dy, y, size, [](T dy, T y) { return dy * (y * (1 - y)); });
}

// shifted = x - max(x) in each of the m rows of n: its exponentials are at most 1, and one of them is 1.
template <class T>
void subtract_row_maximum(T* shifted, const T* x, Index m, Index n) {
  for (Index i = 0; i < m; ++i) {
    const T* row = x + i * n;
    T maximum = -std::numeric_limits<T>::infinity();
#pragma omp simd reduction(max : maximum)
    for (Index j = 0; j < n; ++j) maximum = row[j] > maximum ? row[j] : maximum;
    math::map(shifted + i * n, row, n, [maximum](T x) { return x - maximum; });
  }
}

// y = e^x / sum e^x over each row.
template <class T>
void softmax_forward(T* y, const T* x, Index m, Index n) {
  subtract_row_maximum(y, x, m, n);
  math::map(y, y, m * n, [](T x) { return math::exp(x); });
  for (Index i = 0; i < m; ++i) {
    T* row = y + i * n;
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (Index j = 0; j < n; ++j) sum += row[j];
    const T inverse = T(1 / sum);
    math::map(row, row, n, [inverse](T e) { return e * inverse; });
  }
}

// dx = y (dy - sum dy y), the sum over each row.
template <class T>
void softmax_backward(T* dx, const T* dy, const T* y, Index m, Index n) {
  for (Index i = 0; i < m; ++i) {
    const T *dy_row = dy + i * n, *y_row = y + i * n;
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (Index j = 0; j < n; ++j) sum += double(dy_row[j]) * y_row[j];
    map_backward(dx + i * n, dy_row, y_row, n, [mean = T(sum)](T dy, T y) { return y * (dy - mean); });
  }
}

}  // namespace gradproof
