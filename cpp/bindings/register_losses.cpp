// Losses and penalties: each returns its value; the gradient is written (losses) or added (penalties) unless it is None.
#include "arrays.hpp"
#include "gradproof/losses.hpp"
#include "gradproof/regularization.hpp"
#include "register.hpp"

namespace gradproof {

namespace {

// Labels index rows in the kernels, so a wrong one would write outside the array.
void check_labels(const In<std::int64_t>& labels, Index m, Index n) {
  labels.of_shape({m}, "labels");
  for (Index i = 0; i < m; ++i) {
    if (labels.data[i] < 0 || labels.data[i] >= n) {
      throw std::invalid_argument("labels: expected integers from 0 to " + std::to_string(n - 1) + ", got " +
                                  std::to_string(labels.data[i]) + " at row " + std::to_string(i));
    }
  }
}

// A classification loss: loss(dscores or None, scores, labels, more...).
template <class T, class... More>
void register_labelled(py::module_& module, const char* name,
                       double (*loss)(T*, const T*, const std::int64_t*, Index, Index, More...)) {
  module.def(name, [loss](std::optional<Out<T>> dscores, In<T> scores, In<std::int64_t> labels, More... more) {
    const Index m = scores.extent(0, "scores"), n = scores.extent(1, "scores");
    scores.of_shape({m, n}, "scores");
    T* gradient = of_shape_or_null(dscores, {m, n}, "dscores");
    check_labels(labels, m, n);
    return without_gil([&] { return loss(gradient, scores.data, labels.data, m, n, more...); });
  });
}

// A regression loss: loss(dscores or None, scores, targets).
template <class T>
void register_targeted(py::module_& module, const char* name, double (*loss)(T*, const T*, const T*, Index, Index)) {
  module.def(name, [loss](std::optional<Out<T>> dscores, In<T> scores, In<T> targets) {
    const Index m = scores.extent(0, "scores"), n = scores.extent(1, "scores");
    scores.of_shape({m, n}, "scores");
    targets.of_shape({m, n}, "targets");
    T* gradient = of_shape_or_null(dscores, {m, n}, "dscores");
    return without_gil([&] { return loss(gradient, scores.data, targets.data, m, n); });
  });
}

template <class T>
void register_penalty(py::module_& module, const char* name, double (*penalty)(T*, const T*, Index, T)) {
  module.def(name, [penalty](std::optional<Out<T>> dW, In<T> W, T coefficient) {
    T* gradient = of_shape_or_null(dW, W.shape, "dW");
    return without_gil([&] { return penalty(gradient, W.data, W.size(), coefficient); });
  });
}

template <class T>
void register_for(py::module_& module) {
  register_labelled<T>(module, "softmax_cross_entropy", softmax_cross_entropy<T>);
  register_labelled<T, T>(module, "hinge", hinge<T>);
  register_targeted<T>(module, "binary_cross_entropy", binary_cross_entropy<T>);
  register_targeted<T>(module, "mse", mse<T>);
  register_penalty<T>(module, "l1", l1<T>);
  register_penalty<T>(module, "l2", l2<T>);
}

}  // namespace

void register_losses(py::module_& module) {
  register_for<float>(module);
  register_for<double>(module);
}

}  // namespace gradproof
