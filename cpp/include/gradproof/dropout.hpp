// Inverted dropout: kept values are scaled by 1/keep_prob in training, so that nothing changes in use.
#pragma once

#include <algorithm>
#include <cmath>

#include "random.hpp"

namespace gradproof {

// mask[i] = 1/keep_prob with probability keep_prob, otherwise 0. Element i depends on (seed, stream, step, i) alone.
// keep_prob is a double and is compared in steps of 2^-24, so that float and double models drop the same elements.
template <class T>
void dropout_mask(T* mask, Index size, double keep_prob, std::uint64_t seed, std::uint64_t stream, std::uint64_t step) {
  const auto threshold = std::int32_t(std::lround(keep_prob * (1 << 24)));
  const T scale = T(1 / keep_prob);
  for (Index first = 0; first < size; first += philox_group_size) {
    std::uint32_t numbers[philox_group_size];
    T values[philox_group_size];
    philox_group(numbers, seed, std::uint32_t(stream), step, std::uint32_t(first / philox_group_size));
#pragma omp simd
    for (int i = 0; i < philox_group_size; ++i) {
      values[i] = T(std::int32_t(std::int32_t(numbers[i] >> 8) < threshold)) * scale;
    }
    std::copy_n(values, std::min<Index>(philox_group_size, size - first), mask + first);
  }
}

// y = x mask and dx = dy mask; outputs may be the inputs.
template <class T>
void dropout_forward(T* y, const T* x, const T* mask, Index size) {
#pragma omp simd
  for (Index i = 0; i < size; ++i) y[i] = x[i] * mask[i];
}
template <class T>
void dropout_backward(T* dx, const T* dy, const T* mask, Index size) {
  dropout_forward(dx, dy, mask, size);
}

}  // namespace gradproof
