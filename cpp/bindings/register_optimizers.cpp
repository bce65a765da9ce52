// Optimizers: theta and the slots are updated in place. A rule is its kind and six numbers, see train/optimizers.py; runs
// of theta are rows (begin, end, decays).
#include "register.hpp"
#include "rules.hpp"

namespace gradproof {

namespace {

template <class T>
void register_for(py::module_& module) {
  module.def("gradient_norm", [](In<T> gradient, In<Index> runs) {
    const Run* first = runs_of(runs, gradient.size());
    return without_gil([&] { return gradient_norm(gradient.data, first, runs.shape[0]); });
  });
  module.def("optimizer_update", [](Out<T> theta, std::optional<Out<T>> slot0, std::optional<Out<T>> slot1,
                                    In<T> gradient, In<Index> runs, int kind, Index t, double learning_rate,
                                    double beta1, double beta2, double epsilon, double weight_decay, double clip_norm) {
    if (t < 1) throw std::invalid_argument("t: expected a number from 1");
    const Rule rule = rule_of(kind, learning_rate, beta1, beta2, epsilon, weight_decay, clip_norm, slot0.has_value(),
                              slot1.has_value());
    T* first_slot = of_shape_or_null(slot0, theta.shape, "slot0");
    T* second_slot = of_shape_or_null(slot1, theta.shape, "slot1");
    gradient.of_shape(theta.shape, "gradient");
    const Run* first = runs_of(runs, theta.size());
    without_gil([&] {
      update(rule, t, theta.data, first_slot, second_slot, gradient.data, first, runs.shape[0]);
    });
  });
}

}  // namespace

void register_optimizers(py::module_& module) {
  register_for<float>(module);
  register_for<double>(module);
}

}  // namespace gradproof
