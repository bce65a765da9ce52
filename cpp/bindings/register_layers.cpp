// The kernels of the layers: products, activations, maxout, dropout, batch normalization. Outputs first.
#include "arrays.hpp"
#include "gradproof/activations.hpp"
#include "gradproof/batch_norm.hpp"
#include "gradproof/dense.hpp"
#include "gradproof/dropout.hpp"
#include "gradproof/maxout.hpp"
#include "register.hpp"

namespace gradproof {

namespace {

using Shape = std::vector<Index>;

template <class T>
void register_dense(py::module_& module) {
  module.def("matmul", [](Out<T> c, In<T> a, In<T> b, bool transpose_a, bool transpose_b) {
    const Index m = a.extent(transpose_a ? 1 : 0, "a"), k = a.extent(transpose_a ? 0 : 1, "a");
    const Index n = b.extent(transpose_b ? 0 : 1, "b");
    a.of_shape(transpose_a ? Shape{k, m} : Shape{m, k}, "a");
    b.of_shape(transpose_b ? Shape{n, k} : Shape{k, n}, "b");
    c.of_shape({m, n}, "c");
    without_gil([&] { matmul(c.data, a.data, b.data, m, k, n, transpose_a, transpose_b); });
  });
  module.def("dense_forward", [](Out<T> y, In<T> x, In<T> W, std::optional<In<T>> b) {
    const Index m = x.extent(0, "x"), n_in = W.extent(0, "W"), n_out = W.extent(1, "W");
    x.of_shape({m, n_in}, "x");
    W.of_shape({n_in, n_out}, "W");
    y.of_shape({m, n_out}, "y");
    const T* bias = of_shape_or_null(b, {n_out}, "b");
    without_gil([&] { dense_forward(y.data, x.data, W.data, bias, m, n_in, n_out); });
  });
  module.def("dense_backward", [](std::optional<Out<T>> dx, Out<T> dW, std::optional<Out<T>> db, In<T> dy, In<T> x,
                                  In<T> W) {
    const Index m = x.extent(0, "x"), n_in = W.extent(0, "W"), n_out = W.extent(1, "W");
    x.of_shape({m, n_in}, "x");
    W.of_shape({n_in, n_out}, "W");
    dy.of_shape({m, n_out}, "dy");
    dW.of_shape({n_in, n_out}, "dW");
    T* dx_data = of_shape_or_null(dx, {m, n_in}, "dx");
    T* db_data = of_shape_or_null(db, {n_out}, "db");
    without_gil([&] { dense_backward(dx_data, dW.data, db_data, dy.data, x.data, W.data, m, n_in, n_out); });
  });
}

// y = forward(x) and dx = backward(dy, v) for activations of one element at a time; v is x or y, and `more` what else
// both take.
template <class T, class... More>
void register_elementwise(py::module_& module, const std::string& name, void (*forward)(T*, const T*, Index, More...),
                          void (*backward)(T*, const T*, const T*, Index, More...)) {
  module.def((name + "_forward").c_str(), [forward](Out<T> y, In<T> x, More... more) {
    y.of_shape(x.shape, "y");
    without_gil([&] { forward(y.data, x.data, x.size(), more...); });
  });
  module.def((name + "_backward").c_str(), [backward](Out<T> dx, In<T> dy, In<T> v, More... more) {
    dx.of_shape(dy.shape, "dx");
    v.of_shape(dy.shape, "x or y");
    without_gil([&] { backward(dx.data, dy.data, v.data, dy.size(), more...); });
  });
}

template <class T>
void register_activations(py::module_& module) {
  register_elementwise<T>(module, "relu", relu_forward<T>, relu_backward<T>);
  register_elementwise<T, T>(module, "leaky_relu", leaky_relu_forward<T>, leaky_relu_backward<T>);
  register_elementwise<T>(module, "tanh", tanh_forward<T>, tanh_backward<T>);
  register_elementwise<T>(module, "sigmoid", sigmoid_forward<T>, sigmoid_backward<T>);
  module.def("softmax_forward", [](Out<T> y, In<T> x) {
    const Index m = x.extent(0, "x"), n = x.extent(1, "x");
    x.of_shape({m, n}, "x");
    y.of_shape({m, n}, "y");
    without_gil([&] { softmax_forward(y.data, x.data, m, n); });
  });
  module.def("softmax_backward", [](Out<T> dx, In<T> dy, In<T> y) {
    const Index m = dy.extent(0, "dy"), n = dy.extent(1, "dy");
    dy.of_shape({m, n}, "dy");
    y.of_shape({m, n}, "y");
    dx.of_shape({m, n}, "dx");
    without_gil([&] { softmax_backward(dx.data, dy.data, y.data, m, n); });
  });
}

template <class T>
void register_maxout(py::module_& module) {
  module.def("maxout_forward", [](Out<T> y, Out<std::int32_t> winner, In<T> x) {
    const Index m = y.extent(0, "y"), units = y.extent(1, "y");
    const Index pieces = units > 0 ? x.extent(1, "x") / units : 1;
    y.of_shape({m, units}, "y");
    x.of_shape({m, units * pieces}, "x");
    winner.of_shape({m, units}, "winner");
    if (pieces < 1) throw std::invalid_argument("x: expected at least one piece per unit");
    without_gil([&] { maxout_forward(y.data, winner.data, x.data, m, units, pieces); });
  });
  module.def("maxout_backward", [](Out<T> dx, In<T> dy, In<std::int32_t> winner) {
    const Index m = dy.extent(0, "dy"), units = dy.extent(1, "dy");
    const Index pieces = units > 0 ? dx.extent(1, "dx") / units : 1;
    dy.of_shape({m, units}, "dy");
    winner.of_shape({m, units}, "winner");
    dx.of_shape({m, units * pieces}, "dx");
    without_gil([&] { maxout_backward(dx.data, dy.data, winner.data, m, units, pieces); });
  });
}

template <class T>
void register_dropout(py::module_& module) {
  module.def("dropout_mask", [](Out<T> mask, double keep_prob, std::uint64_t seed, std::uint64_t stream,
                                std::uint64_t step) {
    without_gil([&] { dropout_mask(mask.data, mask.size(), keep_prob, seed, stream, step); });
  });
  module.def("dropout_forward", [](Out<T> y, In<T> x, In<T> mask) {
    y.of_shape(x.shape, "y");
    mask.of_shape(x.shape, "mask");
    without_gil([&] { dropout_forward(y.data, x.data, mask.data, x.size()); });
  });
  module.def("dropout_backward", [](Out<T> dx, In<T> dy, In<T> mask) {
    dx.of_shape(dy.shape, "dx");
    mask.of_shape(dy.shape, "mask");
    without_gil([&] { dropout_backward(dx.data, dy.data, mask.data, dy.size()); });
  });
}

template <class T>
void register_batch_norm(py::module_& module) {
  module.def("batch_norm_forward", [](Out<T> y, Out<T> x_hat, Out<T> mean, Out<T> inv_std, Out<T> variance, In<T> x,
                                      In<T> gamma, In<T> beta, T epsilon) {
    const Index m = x.extent(0, "x"), n = x.extent(1, "x");
    x.of_shape({m, n}, "x");
    y.of_shape({m, n}, "y");
    x_hat.of_shape({m, n}, "x_hat");
    mean.of_shape({n}, "mean");
    inv_std.of_shape({n}, "inv_std");
    variance.of_shape({n}, "variance");
    gamma.of_shape({n}, "gamma");
    beta.of_shape({n}, "beta");
    without_gil([&] {
      batch_norm_forward(y.data, x_hat.data, mean.data, inv_std.data, variance.data, x.data, gamma.data, beta.data, m,
                         n, epsilon);
    });
  });
  module.def("batch_norm_inference", [](Out<T> y, In<T> x, In<T> gamma, In<T> beta, In<T> running_mean,
                                        In<T> running_variance, T epsilon) {
    const Index m = x.extent(0, "x"), n = x.extent(1, "x");
    x.of_shape({m, n}, "x");
    y.of_shape({m, n}, "y");
    gamma.of_shape({n}, "gamma");
    beta.of_shape({n}, "beta");
    running_mean.of_shape({n}, "running_mean");
    running_variance.of_shape({n}, "running_variance");
    without_gil([&] {
      batch_norm_inference(y.data, x.data, gamma.data, beta.data, running_mean.data, running_variance.data, m, n,
                           epsilon);
    });
  });
  module.def("batch_norm_backward", [](Out<T> dx, Out<T> dgamma, Out<T> dbeta, In<T> dy, In<T> x_hat, In<T> inv_std,
                                       In<T> gamma) {
    const Index m = dy.extent(0, "dy"), n = dy.extent(1, "dy");
    dy.of_shape({m, n}, "dy");
    x_hat.of_shape({m, n}, "x_hat");
    dx.of_shape({m, n}, "dx");
    dgamma.of_shape({n}, "dgamma");
    dbeta.of_shape({n}, "dbeta");
    inv_std.of_shape({n}, "inv_std");
    gamma.of_shape({n}, "gamma");
    without_gil([&] {
      batch_norm_backward(dx.data, dgamma.data, dbeta.data, dy.data, x_hat.data, inv_std.data, gamma.data, m, n);
    });
  });
  module.def("batch_norm_update", [](Out<T> running_mean, Out<T> running_variance, In<T> mean, In<T> variance,
                                     T decay) {
    const Index n = mean.size();
    running_mean.of_shape({n}, "running_mean");
    running_variance.of_shape({n}, "running_variance");
    mean.of_shape({n}, "mean");
    variance.of_shape({n}, "variance");
    without_gil(
        [&] { batch_norm_update(running_mean.data, running_variance.data, mean.data, variance.data, n, decay); });
  });
}

template <class T>
void register_for(py::module_& module) {
  register_dense<T>(module);
  register_activations<T>(module);
  register_maxout<T>(module);
  register_dropout<T>(module);
  register_batch_norm<T>(module);
}

}  // namespace

void register_layers(py::module_& module) {
  register_for<float>(module);
  register_for<double>(module);
}

}  // namespace gradproof
