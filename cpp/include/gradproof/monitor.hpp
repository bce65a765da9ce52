// What a training step leaves behind, summed up: activations in the workspace, and norms of gradient, weights and update.
#pragma once

#include "network.hpp"

namespace gradproof {

// Per op (mean, standard deviation, share of zeros, units that are zero in every row, share that is saturated) of its
// output over the first `rows` rows of the last training forward pass; `into` is (ops, 5). Units are counted for ReLU only:
// elsewhere zero in every row does not mean that no gradient passes. Saturated: |tanh| > 0.97, sigmoid outside [0.03, 0.97].
constexpr Index activation_statistics_count = 5;
template <class T>
void activation_statistics(double* into, const Plan& plan, const Workspace<T>& workspace, Index rows);

// Per tensor (||gradient||, ||before||, ||theta - before|| / ||before||); the last is 0 for a tensor that was all zeros.
// Tensor t lies from bounds[t] to bounds[t + 1]; `into` is (tensors, 3).
constexpr Index tensor_statistics_count = 3;
template <class T>
void tensor_statistics(double* into, const Index* bounds, Index tensors, const T* theta, const T* before,
                       const T* gradient);

}  // namespace gradproof
