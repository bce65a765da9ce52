// The kernels against naive loops in long double. The same comparisons, and more, run from Python; these run without it,
// which is what the sanitizers need.
#include <random>
#include <vector>

#include "check.hpp"
#include "gradproof/batch_norm.hpp"
#include "gradproof/dense.hpp"
#include "gradproof/dropout.hpp"
#include "gradproof/losses.hpp"
#include "gradproof/maxout.hpp"
#include "gradproof/regularization.hpp"

using gradproof::Index;

namespace {

using Exact = long double;

template <class T>
constexpr Exact tolerance = 200 * std::numeric_limits<T>::epsilon();

std::mt19937 generator(7);

template <class T>
std::vector<T> normal(Index size) {
  std::normal_distribution<T> distribution;
  std::vector<T> values(static_cast<std::size_t>(size));
  for (T& value : values) value = distribution(generator);
  return values;
}

template <class T>
void test_matmul(Index m, Index k, Index n) {
  for (const bool transpose_a : {false, true}) {
    for (const bool transpose_b : {false, true}) {
      const auto a = normal<T>(m * k), b = normal<T>(k * n);
      std::vector<T> c(static_cast<std::size_t>(m * n));
      gradproof::matmul(c.data(), a.data(), b.data(), m, k, n, transpose_a, transpose_b);
      for (Index i = 0; i < m; ++i) {
        for (Index j = 0; j < n; ++j) {
          Exact sum = 0;
          for (Index l = 0; l < k; ++l) {
            sum += Exact(a[transpose_a ? l * m + i : i * k + l]) * b[transpose_b ? j * k + l : l * n + j];
          }
          check_close(c[i * n + j], sum, tolerance<T>, "matmul");
        }
      }
    }
  }
}

template <class T>
void test_dense(Index m, Index n_in, Index n_out) {
  const auto x = normal<T>(m * n_in), W = normal<T>(n_in * n_out), b = normal<T>(n_out), dy = normal<T>(m * n_out);
  std::vector<T> y(m * n_out), dx(m * n_in), dW(n_in * n_out, T(1)), db(n_out, T(1));  // backward adds to what is there
  gradproof::dense_forward(y.data(), x.data(), W.data(), b.data(), m, n_in, n_out);
  gradproof::dense_backward(dx.data(), dW.data(), db.data(), dy.data(), x.data(), W.data(), m, n_in, n_out);
  for (Index j = 0; j < n_out; ++j) {
    Exact db_j = 1;
    for (Index s = 0; s < m; ++s) {
      Exact y_sj = b[j];
      for (Index i = 0; i < n_in; ++i) y_sj += Exact(x[s * n_in + i]) * W[i * n_out + j];
      check_close(y[s * n_out + j], y_sj, tolerance<T>, "dense_forward");
      db_j += dy[s * n_out + j];
    }
    check_close(db[j], db_j, tolerance<T>, "db");
  }
  for (Index i = 0; i < n_in; ++i) {
    for (Index j = 0; j < n_out; ++j) {
      Exact dW_ij = 1;
      for (Index s = 0; s < m; ++s) dW_ij += Exact(x[s * n_in + i]) * dy[s * n_out + j];
      check_close(dW[i * n_out + j], dW_ij, tolerance<T>, "dW");
    }
    for (Index s = 0; s < m; ++s) {
      Exact dx_si = 0;
      for (Index j = 0; j < n_out; ++j) dx_si += Exact(dy[s * n_out + j]) * W[i * n_out + j];
      check_close(dx[s * n_in + i], dx_si, tolerance<T>, "dx");
    }
  }
}

template <class T>
void test_activations(Index m, Index n) {
  const Index size = m * n;
  const auto x = normal<T>(size), dy = normal<T>(size);
  std::vector<T> y(size), dx(size);
  gradproof::tanh_forward(y.data(), x.data(), size);
  gradproof::tanh_backward(dx.data(), dy.data(), y.data(), size);
  for (Index i = 0; i < size; ++i) {
    const Exact t = std::tanh(Exact(x[i]));
    check_close(y[i], t, tolerance<T>, "tanh_forward");
    check_close(dx[i], dy[i] * (1 - t * t), tolerance<T>, "tanh_backward");
  }
  gradproof::softmax_forward(y.data(), x.data(), m, n);
  gradproof::softmax_backward(dx.data(), dy.data(), y.data(), m, n);
  for (Index s = 0; s < m; ++s) {
    Exact sum = 0, mean = 0;
    for (Index j = 0; j < n; ++j) sum += std::exp(Exact(x[s * n + j]));
    for (Index j = 0; j < n; ++j) mean += dy[s * n + j] * std::exp(Exact(x[s * n + j])) / sum;
    for (Index j = 0; j < n; ++j) {
      const Exact p = std::exp(Exact(x[s * n + j])) / sum;
      check_close(y[s * n + j], p, tolerance<T>, "softmax_forward");
      check_close(dx[s * n + j], p * (dy[s * n + j] - mean), tolerance<T>, "softmax_backward");
    }
  }
  y = x;
  gradproof::relu_forward(y.data(), y.data(), size);  // in place
  for (Index i = 0; i < size; ++i) CHECK(y[i] == std::max(x[i], T(0)));
}

template <class T>
void test_maxout(Index m, Index units, Index pieces) {
  const auto x = normal<T>(m * units * pieces), dy = normal<T>(m * units);
  std::vector<T> y(m * units), dx(x.size());
  std::vector<std::int32_t> winner(m * units);
  gradproof::maxout_forward(y.data(), winner.data(), x.data(), m, units, pieces);
  gradproof::maxout_backward(dx.data(), dy.data(), winner.data(), m, units, pieces);
  for (Index u = 0; u < m * units; ++u) {
    const auto first = x.begin() + u * pieces, best = std::max_element(first, first + pieces);
    CHECK(y[u] == *best && winner[u] == best - first);
    for (Index p = 0; p < pieces; ++p) CHECK(dx[u * pieces + p] == (p == best - first ? dy[u] : T(0)));
  }
}

template <class T>
void test_batch_norm(Index m, Index n) {
  const auto x = normal<T>(m * n), gamma = normal<T>(n), beta = normal<T>(n), dy = normal<T>(m * n);
  std::vector<T> y(m * n), x_hat(m * n), mean(n), inv_std(n), variance(n), dx(m * n), dgamma(n, T(1)), dbeta(n, T(1));
  const T epsilon = T(1e-3);
  gradproof::batch_norm_forward(y.data(), x_hat.data(), mean.data(), inv_std.data(), variance.data(), x.data(),
                                gamma.data(), beta.data(), m, n, epsilon);
  gradproof::batch_norm_backward(dx.data(), dgamma.data(), dbeta.data(), dy.data(), x_hat.data(), inv_std.data(),
                                 gamma.data(), m, n);
  for (Index j = 0; j < n; ++j) {
    Exact mu = 0, sigma2 = 0, sum = 0, product = 0;
    for (Index s = 0; s < m; ++s) mu += Exact(x[s * n + j]) / m;
    for (Index s = 0; s < m; ++s) sigma2 += (x[s * n + j] - mu) * (x[s * n + j] - mu) / m;
    const Exact scale = 1 / std::sqrt(sigma2 + Exact(epsilon));
    for (Index s = 0; s < m; ++s) {
      sum += dy[s * n + j];
      product += dy[s * n + j] * (x[s * n + j] - mu) * scale;
    }
    check_close(mean[j], mu, tolerance<T>, "mean");
    check_close(variance[j], sigma2, tolerance<T>, "variance");
    check_close(dgamma[j], 1 + product, tolerance<T>, "dgamma");
    check_close(dbeta[j], 1 + sum, tolerance<T>, "dbeta");
    for (Index s = 0; s < m; ++s) {
      const Exact normalized = (x[s * n + j] - mu) * scale;
      check_close(y[s * n + j], gamma[j] * normalized + beta[j], tolerance<T>, "batch_norm_forward");
      check_close(dx[s * n + j], gamma[j] * scale * (dy[s * n + j] - sum / m - normalized * product / m),
                  tolerance<T>, "batch_norm_backward");
    }
  }
}

template <class T>
void test_losses(Index m, Index n) {
  const auto scores = normal<T>(m * n), values = normal<T>(m * n);
  std::vector<std::int64_t> labels(m);
  for (Index s = 0; s < m; ++s) labels[s] = s % n;
  std::vector<T> dscores(m * n);

  Exact total = 0;
  double loss = gradproof::softmax_cross_entropy(dscores.data(), scores.data(), labels.data(), m, n);
  CHECK(loss == gradproof::softmax_cross_entropy<T>(nullptr, scores.data(), labels.data(), m, n));
  for (Index s = 0; s < m; ++s) {
    Exact sum = 0;
    for (Index j = 0; j < n; ++j) sum += std::exp(Exact(scores[s * n + j]));
    total += std::log(sum) - scores[s * n + labels[s]];
    for (Index j = 0; j < n; ++j) {
      const Exact p = std::exp(Exact(scores[s * n + j])) / sum;
      check_close(dscores[s * n + j], (p - (j == labels[s])) / m, tolerance<T>, "softmax_cross_entropy gradient");
    }
  }
  check_close(loss, total / m, tolerance<T>, "softmax_cross_entropy");

  total = 0;
  loss = gradproof::hinge(dscores.data(), scores.data(), labels.data(), m, n, T(1));
  for (Index s = 0; s < m; ++s) {
    for (Index j = 0; j < n; ++j) {
      if (j != labels[s]) total += std::max(Exact(0), Exact(scores[s * n + j]) - scores[s * n + labels[s]] + 1);
    }
  }
  check_close(loss, total / m, tolerance<T>, "hinge");

  total = 0;
  loss = gradproof::mse(dscores.data(), scores.data(), values.data(), m, n);
  for (Index i = 0; i < m * n; ++i) total += (Exact(scores[i]) - values[i]) * (Exact(scores[i]) - values[i]);
  check_close(loss, total / (m * n), tolerance<T>, "mse");

  Exact absolute = 0, square = 0;
  for (const T s : scores) {
    absolute += std::fabs(s);
    square += Exact(s) * s;
  }
  check_close(gradproof::l1<T>(nullptr, scores.data(), m * n, T(0.5)), absolute / 2, tolerance<T>, "l1");
  check_close(gradproof::l2<T>(nullptr, scores.data(), m * n, T(0.5)), square / 4, tolerance<T>, "l2");
}

// The known answers that come with the generator (Random123, kat_vectors).
void test_philox() {
  const auto same = [](gradproof::PhiloxCounter x, std::uint32_t k0, std::uint32_t k1, gradproof::PhiloxCounter y) {
    const auto z = gradproof::philox(x, k0, k1);
    return z.x0 == y.x0 && z.x1 == y.x1 && z.x2 == y.x2 && z.x3 == y.x3;
  };
  constexpr std::uint32_t ones = 0xffffffff;
  CHECK(same({0, 0, 0, 0}, 0, 0, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  CHECK(same({ones, ones, ones, ones}, ones, ones, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  CHECK(same({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, 0xa4093822, 0x299f31d0,
             {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

template <class T>
void test_all() {
  for (const Index m : {1, 2, 17, 65}) {
    for (const Index n : {1, 3, 16, 67}) {
      test_matmul<T>(m, 9, n);
      test_dense<T>(m, n, 5);
      test_activations<T>(m, n);
      test_maxout<T>(m, n, 3);
      test_batch_norm<T>(m, n);
      test_losses<T>(m, n);
    }
  }
  std::vector<T> mask(100);
  gradproof::dropout_mask(mask.data(), 100, 1.0, 1, 2, 3);
  for (const T value : mask) CHECK(value == 1);
}

}  // namespace

int main() {
  test_philox();
  test_all<float>();
  test_all<double>();
  return failures != 0;
}
