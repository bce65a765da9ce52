// Networks and the structured difference engine, over plans (nn/plan.py). Outputs first but for the plan, which says
// what everything else is.
#include "arrays.hpp"
#include "gradproof/difference.hpp"
#include "gradproof/network.hpp"
#include "gradproof/thread_pool.hpp"
#include "plans.hpp"
#include "register.hpp"

namespace gradproof {

namespace {

template <class T>
void register_passes(py::module_& module) {
  module.def("network_forward", [](In<Index> ops, In<double> scalars, In<T> theta, In<T> buffers, In<T> x, Out<T> y,
                                   Out<T> memory, bool training, std::uint64_t seed, std::uint64_t step) {
    const Plan plan = plan_of(ops, scalars, theta.size(), buffers.size());
    const Index m = x.extent(0, "x");
    x.of_shape({m, plan.front().n_in}, "x");
    y.of_shape({m, plan.back().n_out}, "y");
    const Workspace<T> workspace = workspace_of(plan, m, memory.data, memory.size());
    without_gil([&] {
      network_forward(plan, theta.data, buffers.data, x.data, m, workspace, training, {seed, step});
      const T* scores = workspace.records.back().output;
      std::copy(scores, scores + y.size(), y.data);
    });
  });
  module.def("careful_forward", [](In<Index> ops, In<double> scalars, In<T> theta, In<T> x, Out<T> y, Out<T> memory,
                                   std::uint64_t seed, std::uint64_t step) {
    const Plan plan = plan_of(ops, scalars, theta.size(), any_size);
    const Index m = x.extent(0, "x");
    x.of_shape({m, plan.front().n_in}, "x");
    y.of_shape({m, plan.back().n_out}, "y");
    const Workspace<T> workspace = workspace_of(plan, m, memory.data, memory.size());
    without_gil([&] {
      careful_forward(plan, theta.data, x.data, m, workspace, {seed, step});
      const T* scores = workspace.records.back().output;
      std::copy(scores, scores + y.size(), y.data);
    });
  });
  module.def("network_update_statistics",
             [](In<Index> ops, In<double> scalars, Out<T> buffers, Out<T> memory, Index m) {
               const Plan plan = plan_of(ops, scalars, any_size, buffers.size());
               const Workspace<T> workspace = workspace_of(plan, m, memory.data, memory.size());
               without_gil([&] { network_update_statistics(plan, buffers.data, workspace); });
             });
  module.def("network_backward", [](In<Index> ops, In<double> scalars, In<T> theta, In<T> x, In<T> dy, Out<T> gradient,
                                    std::optional<Out<T>> dx, Out<T> memory) {
    const Plan plan = plan_of(ops, scalars, theta.size(), any_size);
    const Index m = x.extent(0, "x");
    x.of_shape({m, plan.front().n_in}, "x");
    dy.of_shape({m, plan.back().n_out}, "dy");
    gradient.of_shape(theta.shape, "gradient");
    T* dx_data = of_shape_or_null(dx, x.shape, "dx");
    const Workspace<T> workspace = workspace_of(plan, m, memory.data, memory.size());
    without_gil([&] { network_backward(plan, theta.data, x.data, m, dy.data, gradient.data, dx_data, workspace); });
  });
}

// What the functions of the engine have in common: the network at its base point, checked.
template <class T>
struct Base {
  Plan plan;
  Workspace<T> workspace;
  Point<T> point;

  Base(const In<Index>& ops, const In<double>& scalars, const In<T>& theta, const In<T>& x, Index loss,
       const In<std::int64_t>& labels, const In<T>& values, Out<T>& memory)
      : plan(plan_of(ops, scalars, theta.size(), any_size)),
        workspace(workspace_of(plan, x.extent(0, "x"), memory.data, memory.size())),
        point{plan, theta.data, theta.size(), x.data, x.extent(0, "x"), {}, workspace} {
    const Index n_out = plan.back().n_out;
    x.of_shape({point.m, plan.front().n_in}, "x");
    if (point.m < 1) throw std::invalid_argument("x: expected at least one row");
    if (loss < 0 || loss > static_cast<Index>(Loss::mse)) throw std::invalid_argument("loss: unknown code");
    point.targets.loss = static_cast<Loss>(loss);
    if (has_labels(point.targets.loss)) {
      point.targets.labels = labels.of_shape({point.m}, "labels");
      for (Index s = 0; s < point.m; ++s) {
        if (labels.data[s] < 0 || labels.data[s] >= n_out) throw std::invalid_argument("labels: out of range");
      }
    } else {
      point.targets.values = values.of_shape({point.m, n_out}, "values");
    }
  }
  Base(const Base&) = delete;  // point refers to plan and workspace
};

void require_entries(const In<Index>& entries, Index theta_size) {
  entries.of_shape({entries.size()}, "entries");
  for (Index e = 0; e < entries.size(); ++e) {
    if (entries.data[e] < 0 || entries.data[e] >= theta_size) throw std::invalid_argument("entries: outside theta");
  }
}

template <class T>
void register_engine(py::module_& module) {
  module.def("structured_pass",
             [](In<Index> ops, In<double> scalars, In<T> theta, In<T> x, Index loss, In<std::int64_t> labels,
                In<T> values, Out<T> memory, Index scheme, In<T> steps, std::optional<In<Index>> entries,
                Out<double> change, std::optional<Out<std::uint8_t>> kink) {
               const Base<T> base(ops, scalars, theta, x, loss, labels, values, memory);
               if (scheme < 0 || scheme > static_cast<Index>(Scheme::loss)) {
                 throw std::invalid_argument("scheme: unknown code");
               }
               if (entries) require_entries(*entries, theta.size());
               const Index count = entries ? entries->size() : theta.size();
               if (steps.size() != 1) steps.of_shape({count}, "steps");
               change.of_shape({count}, "change");
               const Probes<T> probes{entries ? entries->data : nullptr, count, steps.data, steps.size() == 1};
               std::uint8_t* flags = of_shape_or_null(kink, {count}, "kink");
               const auto interrupted = [] {
                 const py::gil_scoped_acquire acquire;
                 return PyErr_CheckSignals() != 0;
               };
               if (!without_gil([&] {
                     return structured_pass(base.point, static_cast<Scheme>(scheme), probes, change.data, flags,
                                            interrupted);
                   })) {
                 throw py::error_already_set();
               }
             });
  module.def("tiny_steps", [](In<Index> ops, In<double> scalars, In<T> theta, In<T> x, Index loss, In<std::int64_t> labels,
                              In<T> values, Out<T> memory, Out<T> steps) {
    const Base<T> base(ops, scalars, theta, x, loss, labels, values, memory);
    steps.of_shape({theta.size()}, "steps");
    without_gil([&] { tiny_steps(base.point, steps.data); });
  });
  module.def("rounding_errors", [](In<Index> ops, In<double> scalars, In<T> theta, In<T> x, Index loss,
                                     In<std::int64_t> labels, In<T> values, Out<T> memory, double input_error,
                                   Out<double> error) {
    const Base<T> base(ops, scalars, theta, x, loss, labels, values, memory);
    error.of_shape({theta.size()}, "error");
    return without_gil([&] { return rounding_errors(base.point, input_error, error.data); });
  });
  module.def("ordinary_losses",
             [](In<Index> ops, In<double> scalars, In<T> theta, In<T> x, Index loss, In<std::int64_t> labels,
                In<T> values, Out<T> memory, In<T> buffers, std::uint64_t seed, std::uint64_t step, In<Index> entries,
                In<T> steps, Out<double> losses) {
               const Base<T> base(ops, scalars, theta, x, loss, labels, values, memory);
               require_entries(entries, theta.size());
               steps.of_shape(entries.shape, "steps");
               losses.of_shape(entries.shape, "losses");
               without_gil([&] {
                 ordinary_losses(base.point, buffers.data, {seed, step}, entries.data, steps.data, entries.size(),
                                 losses.data);
               });
             });
}

}  // namespace

void register_network(py::module_& module) {
  module.def("network_workspace_size", [](In<Index> ops, Index m) {
    if (m < 0) throw std::invalid_argument("m: expected a number of rows");
    const Index n_ops = ops.extent(0, "ops");
    const std::vector<double> scalars(static_cast<std::size_t>(2 * n_ops), 0.0);
    ops.of_shape({n_ops, 6}, "ops");
    return lay_out<double>(read_plan(ops.data, scalars.data(), n_ops, any_size, any_size), m, nullptr).size;
  });
  module.def("thread_count", &thread_count, "Threads that loops of the core may use.");
  module.def("set_thread_count", &set_thread_count, "Sets thread_count; at least 1.");
  register_passes<float>(module);
  register_passes<double>(module);
  register_engine<float>(module);
  register_engine<double>(module);
}

}  // namespace gradproof
