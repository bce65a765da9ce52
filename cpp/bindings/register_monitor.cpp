// What a training step leaves behind, summed up: see gradproof/monitor.hpp.
#include "gradproof/monitor.hpp"

#include "arrays.hpp"
#include "plans.hpp"
#include "register.hpp"

namespace gradproof {

namespace {

template <class T>
void register_statistics(py::module_& module) {
  module.def("activation_statistics",
             [](Out<double> into, In<Index> ops, In<double> scalars, In<T> memory, Index m, Index rows) {
               const Plan plan = plan_of(ops, scalars, any_size, any_size);
               if (rows < 1 || rows > m) throw std::invalid_argument("rows: expected 1 to m");
               into.of_shape({static_cast<Index>(plan.size()), activation_statistics_count}, "into");
               // Only read: a workspace has one type, whether it is being written or not.
               const Workspace<T> workspace = workspace_of(plan, m, const_cast<T*>(memory.data), memory.size());
               without_gil([&] { activation_statistics(into.data, plan, workspace, rows); });
             });
  module.def("tensor_statistics",
             [](Out<double> into, In<Index> bounds, In<T> theta, In<T> before, In<T> gradient) {
               const Index tensors = bounds.extent(0, "bounds") - 1;
               bounds.of_shape({tensors + 1}, "bounds");
               into.of_shape({tensors, tensor_statistics_count}, "into");
               theta.of_shape({theta.size()}, "theta");
               before.of_shape(theta.shape, "before");
               gradient.of_shape(theta.shape, "gradient");
               for (Index t = 0; t <= tensors; ++t) {
                 if (bounds.data[t] < (t ? bounds.data[t - 1] : 0) || bounds.data[t] > theta.size()) {
                   throw std::invalid_argument("bounds: expected rising places in theta");
                 }
               }
               without_gil([&] {
                 tensor_statistics(into.data, bounds.data, tensors, theta.data, before.data, gradient.data);
               });
             });
}

}  // namespace

void register_monitor(py::module_& module) {
  register_statistics<float>(module);
  register_statistics<double>(module);
}

}  // namespace gradproof
