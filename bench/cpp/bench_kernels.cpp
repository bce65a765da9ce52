// The kernels, float and double. Rates are of elements, or of multiplications and additions (products, dense layers).
#include <benchmark/benchmark.h>

#include <string>
#include <vector>

#include "gradproof/activations.hpp"
#include "gradproof/batch_norm.hpp"
#include "gradproof/dense.hpp"
#include "gradproof/dropout.hpp"
#include "gradproof/losses.hpp"

using namespace gradproof;

namespace {

// Numbers between -2 and 2 that are neither sorted nor equal.
template <class T>
std::vector<T> numbers(Index size) {
  std::vector<T> values(static_cast<std::size_t>(size));
  std::uint32_t state = 1;
  for (T& value : values) {
    state = state * 1664525u + 1013904223u;
    value = static_cast<T>(state) / T(1u << 30) - 2;
  }
  return values;
}

void count_elements(benchmark::State& state, Index size) {
  state.SetItemsProcessed(static_cast<std::int64_t>(state.iterations()) * size);
}

void count_flops(benchmark::State& state, double flops) {
  state.counters["flops"] = benchmark::Counter(flops, benchmark::Counter::kIsIterationInvariantRate);
}

template <class T>
void matmul_square(benchmark::State& state) {
  const Index n = state.range(0);
  const auto a = numbers<T>(n * n), b = numbers<T>(n * n);
  std::vector<T> c(a.size());
  for (auto _ : state) {
    matmul(c.data(), a.data(), b.data(), n, n, n, false, false);
    benchmark::DoNotOptimize(c.data());
  }
  count_flops(state, 2.0 * double(n) * double(n) * double(n));
}

template <class T>
void dense(benchmark::State& state, bool backward) {
  const Index m = state.range(0), n_in = state.range(1), n_out = state.range(2);
  const auto x = numbers<T>(m * n_in), W = numbers<T>(n_in * n_out), b = numbers<T>(n_out), dy = numbers<T>(m * n_out);
  std::vector<T> y(dy.size()), dx(x.size()), dW(W.size()), db(b.size());
  for (auto _ : state) {
    if (backward) {
      dense_backward(dx.data(), dW.data(), db.data(), dy.data(), x.data(), W.data(), m, n_in, n_out);
      benchmark::DoNotOptimize(dW.data());
    } else {
      dense_forward(y.data(), x.data(), W.data(), b.data(), m, n_in, n_out);
      benchmark::DoNotOptimize(y.data());
    }
  }
  count_flops(state, (backward ? 4.0 : 2.0) * double(m) * double(n_in) * double(n_out));
}

constexpr Index elements = 1 << 14;  // in the first two levels of cache

template <class T, class F>
void elementwise(benchmark::State& state, const F& f) {
  const auto x = numbers<T>(elements);
  std::vector<T> y(x.size());
  for (auto _ : state) {
    f(y.data(), x.data());
    benchmark::DoNotOptimize(y.data());
  }
  count_elements(state, elements);
}

template <class T>
void batch_norm(benchmark::State& state, bool backward) {
  const Index m = 256, n = 512;
  const auto x = numbers<T>(m * n), gamma = numbers<T>(n), beta = numbers<T>(n), dy = numbers<T>(m * n);
  std::vector<T> y(x.size()), x_hat(x.size()), dx(x.size()), mean(n), inv_std(n), variance(n), dgamma(n), dbeta(n);
  const auto forward = [&] {
    batch_norm_forward(y.data(), x_hat.data(), mean.data(), inv_std.data(), variance.data(), x.data(), gamma.data(),
                       beta.data(), m, n, T(1e-5));
  };
  forward();
  for (auto _ : state) {
    if (backward) {
      batch_norm_backward(dx.data(), dgamma.data(), dbeta.data(), dy.data(), x_hat.data(), inv_std.data(), gamma.data(),
                          m, n);
      benchmark::DoNotOptimize(dx.data());
    } else {
      forward();
      benchmark::DoNotOptimize(y.data());
    }
  }
  count_elements(state, m * n);
}

template <class T>
void mask(benchmark::State& state) {
  std::vector<T> values(elements);
  std::uint64_t step = 0;
  for (auto _ : state) {
    dropout_mask(values.data(), elements, 0.8, 1, 2, ++step);
    benchmark::DoNotOptimize(values.data());
  }
  count_elements(state, elements);
}

template <class T, class F>
void loss(benchmark::State& state, const F& f) {
  const Index m = 256, n = 10;
  const auto scores = numbers<T>(m * n);
  std::vector<T> values(scores.size(), T(0.5)), dscores(scores.size());
  std::vector<std::int64_t> labels(static_cast<std::size_t>(m));
  for (Index s = 0; s < m; ++s) labels[static_cast<std::size_t>(s)] = s % n;
  for (auto _ : state) {
    benchmark::DoNotOptimize(f(dscores.data(), scores.data(), labels.data(), values.data(), m, n));
  }
  count_elements(state, m * n);
}

template <class T>
void register_for(const std::string& type) {
  const auto add = [&type](const std::string& name, auto f) {
    return benchmark::RegisterBenchmark((name + "/" + type).c_str(), f);
  };
  add("matmul", matmul_square<T>)->RangeMultiplier(2)->Range(32, 1024);
  for (const bool backward : {false, true}) {
    const std::string pass = backward ? "backward" : "forward";
    add("dense_" + pass, [backward](benchmark::State& state) { dense<T>(state, backward); })
        ->Args({8, 512, 512})
        ->Args({32, 64, 64})
        ->Args({96, 512, 10})
        ->Args({128, 784, 512});
    add("batch_norm_" + pass, [backward](benchmark::State& state) { batch_norm<T>(state, backward); });
  }
  const auto map = [&](const char* name, auto f) {
    add(name, [f](benchmark::State& state) { elementwise<T>(state, f); });
  };
  map("relu_forward", [](T* y, const T* x) { relu_forward(y, x, elements); });
  map("relu_backward", [](T* y, const T* x) { relu_backward(y, x, x, elements); });
  map("leaky_relu_forward", [](T* y, const T* x) { leaky_relu_forward(y, x, elements, T(0.01)); });
  map("tanh_forward", [](T* y, const T* x) { tanh_forward(y, x, elements); });
  map("tanh_backward", [](T* y, const T* x) { tanh_backward(y, x, x, elements); });
  map("sigmoid_forward", [](T* y, const T* x) { sigmoid_forward(y, x, elements); });
  map("softmax_forward", [](T* y, const T* x) { softmax_forward(y, x, elements / 16, Index(16)); });
  map("softmax_backward", [](T* y, const T* x) { softmax_backward(y, x, x, elements / 16, Index(16)); });
  add("dropout_mask", mask<T>);
  const auto add_loss = [&](const char* name, auto f) {
    add(name, [f](benchmark::State& state) { loss<T>(state, f); });
  };
  using Labels = const std::int64_t*;
  add_loss("softmax_cross_entropy", [](T* d, const T* s, Labels labels, const T*, Index m, Index n) {
    return softmax_cross_entropy(d, s, labels, m, n);
  });
  add_loss("hinge", [](T* d, const T* s, Labels labels, const T*, Index m, Index n) {
    return hinge(d, s, labels, m, n, T(1));
  });
  add_loss("binary_cross_entropy", [](T* d, const T* s, Labels, const T* targets, Index m, Index n) {
    return binary_cross_entropy(d, s, targets, m, n);
  });
  add_loss("mse", [](T* d, const T* s, Labels, const T* targets, Index m, Index n) { return mse(d, s, targets, m, n); });
}

const bool registered = [] {
  register_for<float>("float");
  register_for<double>("double");
  return true;
}();

}  // namespace
