// Batch normalization over the rows (Ioffe and Szegedy 2015): y = gamma x_hat + beta, x_hat = (x - mean) / sqrt(variance
// + epsilon), with the biased variance of the batch.
#pragma once

#include <cmath>

#include "reduce.hpp"
#include "types.hpp"

namespace gradproof {

// x, y, x_hat (m, n); everything else (n). The variance is the corrected two-pass one (Chan, Golub and LeVeque 1983):
// variance = sum d^2 / m - (sum d / m)^2 with d = x - mean, which takes back that the mean was rounded to T.
template <class T>
void batch_norm_forward(T* y, T* x_hat, T* mean, T* inv_std, T* variance, const T* x, const T* gamma, const T* beta,
                        Index m, Index n, T epsilon) {
  for_column_blocks(n, [=](Index first, Index width) {
    double sums[column_block], squares[column_block];
    block_sums(sums, m, n, first, width, [=](Index i) { return x[i]; });
    for (Index j = 0; j < width; ++j) mean[first + j] = T(sums[j] / double(m));

    std::fill(sums, sums + width, 0.0);
    std::fill(squares, squares + width, 0.0);
    for (Index i = 0; i < m; ++i) {
      const Index row = i * n + first;
#pragma omp simd
      for (Index j = 0; j < width; ++j) {
        const double d = double(x[row + j]) - double(mean[first + j]);
        sums[j] += d;
        squares[j] += d * d;
      }
    }
    for (Index j = 0; j < width; ++j) {
      const double rest = sums[j] / double(m);
      const double biased = squares[j] / double(m) - rest * rest;
      variance[first + j] = T(biased);
      inv_std[first + j] = T(1 / std::sqrt(biased + double(epsilon)));
    }
  });
  for (Index i = 0; i < m; ++i) {
    const Index row = i * n;
#pragma omp simd
    for (Index j = 0; j < n; ++j) {
      x_hat[row + j] = (x[row + j] - mean[j]) * inv_std[j];
      y[row + j] = gamma[j] * x_hat[row + j] + beta[j];
    }
  }
}

// y = gamma (x - running_mean) / sqrt(running_variance + epsilon) + beta; y may be x.
template <class T>
void batch_norm_inference(T* y, const T* x, const T* gamma, const T* beta, const T* running_mean,
                          const T* running_variance, Index m, Index n, T epsilon) {
  for_column_blocks(n, [=](Index first, Index width) {
    T inv_std[column_block];
    for (Index j = 0; j < width; ++j) {
      inv_std[j] = T(1 / std::sqrt(double(running_variance[first + j]) + double(epsilon)));
    }
    for (Index i = 0; i < m; ++i) {
      const Index row = i * n + first;
#pragma omp simd
      for (Index j = 0; j < width; ++j) {
        const T x_hat = (x[row + j] - running_mean[first + j]) * inv_std[j];
        y[row + j] = gamma[first + j] * x_hat + beta[first + j];
      }
    }
  });
}

// dgamma += sum dy x_hat, dbeta += sum dy, dx = gamma inv_std (dy - mean(dy) - x_hat mean(dy x_hat)); dx may be dy.
template <class T>
void batch_norm_backward(T* dx, T* dgamma, T* dbeta, const T* dy, const T* x_hat, const T* inv_std, const T* gamma,
                         Index m, Index n) {
  for_column_blocks(n, [=](Index first, Index width) {
    double dy_sums[column_block], product_sums[column_block];
    T mean_dy[column_block], mean_product[column_block];
    block_sums(dy_sums, m, n, first, width, [=](Index i) { return dy[i]; });
    block_sums(product_sums, m, n, first, width, [=](Index i) { return double(dy[i]) * double(x_hat[i]); });
    for (Index j = 0; j < width; ++j) {
      dgamma[first + j] += T(product_sums[j]);
      dbeta[first + j] += T(dy_sums[j]);
      mean_dy[j] = T(dy_sums[j] / double(m));
      mean_product[j] = T(product_sums[j] / double(m));
    }
    for (Index i = 0; i < m; ++i) {
      const Index row = i * n + first;
#pragma omp simd
      for (Index j = 0; j < width; ++j) {
        dx[row + j] = gamma[first + j] * inv_std[first + j] *
                      (dy[row + j] - mean_dy[j] - x_hat[row + j] * mean_product[j]);
      }
    }
  });
}

// running = decay running + (1 - decay) batch, for the mean and the variance.
template <class T>
void batch_norm_update(T* running_mean, T* running_variance, const T* mean, const T* variance, Index n, T decay) {
#pragma omp simd
  for (Index j = 0; j < n; ++j) {
    running_mean[j] = decay * running_mean[j] + (1 - decay) * mean[j];
    running_variance[j] = decay * running_variance[j] + (1 - decay) * variance[j];
  }
}

}  // namespace gradproof
