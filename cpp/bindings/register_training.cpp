// Training steps. A session is a capsule: a model's arrays, its optimizer's rule and the memory of a step, prepared once,
// because preparing them takes as long as a step of a small network. It holds nothing that cannot be made again.
#include <atomic>
#include <cmath>
#include <cstring>

#include "gradproof/training.hpp"
#include "plans.hpp"
#include "register.hpp"
#include "rules.hpp"

namespace gradproof {

namespace {

template <class T>
std::optional<In<T>> view_of(py::handle object) {
  py::detail::make_caster<In<T>> caster;
  if (!caster.load(object, false)) return std::nullopt;
  return py::detail::cast_op<In<T>>(caster);
}

// Both collect what is bad in an int: loops over a bool do not vectorize.
bool all_labels(const std::int64_t* labels, Index m, Index n) {
  int bad = 0;
#pragma omp simd reduction(| : bad)
  for (Index i = 0; i < m; ++i) bad |= int(std::uint64_t(labels[i]) >= std::uint64_t(n));
  return bad == 0;
}

// Whether low <= values <= high; false for NaN.
template <class T>
bool all_within(const T* values, Index size, T low, T high) {
  int bad = 0;
#pragma omp simd reduction(| : bad)
  for (Index i = 0; i < size; ++i) bad |= int(!(values[i] >= low)) | int(!(values[i] <= high));
  return bad == 0;
}

// What a call gives beside the data.
struct Call {
  double learning_rate, l1, l2;
  Index rows, steps;
  std::uint64_t dropout_step;

  Settings settings() const {
    return {learning_rate, l1 / (2 * double(rows)), l2 / double(rows), steps, dropout_step};
  }
};

class Session {
 public:
  static constexpr const char* name = "gradproof.training_session";
  virtual ~Session() = default;

  virtual void run(py::handle x, py::handle y, py::handle weights, py::handle order, Index batch_size, const Call& call,
                   py::handle workspace, py::handle before, Out<double>& costs, Out<Index>& done) = 0;
  // The cost before the step; none if the batch is not yet as the kernels want it.
  virtual std::optional<double> step(py::handle x, py::handle y, Call call) = 0;
};

template <class T>
class SessionOf : public Session {
 public:
  SessionOf(Trainee<T> trainee, py::list owners) : trainer_(std::move(trainee)), owners_(std::move(owners)) {}

  void run(py::handle x, py::handle y, py::handle weights, py::handle order, Index batch_size, const Call& call,
           py::handle workspace, py::handle before, Out<double>& costs, Out<Index>& done) override {
    const auto inputs = view_of<T>(x);
    if (!inputs) throw py::type_error("x: expected an array of the model's dtype in C order");
    const Index m = inputs->extent(0, "x");
    Batches<T> batches{inputs->of_shape({m, n_in()}, "x"), nullptr, nullptr, nullptr, nullptr, m, batch_size};
    if (!set_targets(batches, y, m)) throw std::invalid_argument("y: expected checked targets");
    if (!weights.is_none()) {
      const auto view = view_of<T>(weights);
      if (!view) throw py::type_error("weights: expected an array of the model's dtype");
      batches.weights = view->of_shape({m}, "weights");
    }
    if (!order.is_none()) {
      const auto view = view_of<Index>(order);
      if (!view) throw py::type_error("order: expected an array of int64");
      batches.count = view->size();
      batches.order = view->of_shape({batches.count}, "order");
      if (!all_labels(batches.order, batches.count, m)) throw std::invalid_argument("order: outside the data");
    }
    if (batch_size < 1) throw std::invalid_argument("batch_size: expected at least 1");
    static_assert(sizeof(Cost) == 2 * sizeof(double));
    costs.of_shape({(batches.count + batch_size - 1) / batch_size, 2}, "costs");
    done.of_shape({1}, "done");
    py::detail::make_caster<Out<T>> memory, kept;
    if (!memory.load(workspace, false)) throw py::type_error("workspace: expected an array of the model's dtype");
    auto& space = py::detail::cast_op<Out<T>&>(memory);
    workspace_of(trainer_.trainee().plan, std::min(batches.count, batch_size), space.data, space.size());
    T* theta = nullptr;
    if (!before.is_none()) {
      if (!kept.load(before, false)) throw py::type_error("before: expected an array of the model's dtype");
      theta = py::detail::cast_op<Out<T>&>(kept).of_shape({trainer_.trainee().size}, "before");
    }
    train(batches, call, space.data, theta, reinterpret_cast<Cost*>(costs.data), *done.data);
  }

  std::optional<double> step(py::handle x, py::handle y, Call call) override {
    const auto inputs = view_of<T>(x);
    if (!inputs || inputs->shape.size() != 2 || inputs->shape[1] != n_in()) return std::nullopt;
    const Index m = call.rows = inputs->shape[0];
    constexpr T largest = std::numeric_limits<T>::max();
    if (m < 1 || !all_within(inputs->data, m * n_in(), -largest, largest)) return std::nullopt;
    Batches<T> batches{inputs->data, nullptr, nullptr, nullptr, nullptr, m, m};
    if (!set_targets(batches, y, m)) return std::nullopt;
    const T low = loss() == Loss::binary_cross_entropy ? T(0) : -largest;
    const T high = loss() == Loss::binary_cross_entropy ? T(1) : largest;
    if (batches.values && !all_within(batches.values, m * n_out(), low, high)) return std::nullopt;
    if (!(call.learning_rate >= 0 && std::isfinite(call.learning_rate))) return std::nullopt;
    Cost cost{};
    Index done = 0;
    train(batches, call, nullptr, nullptr, &cost, done);
    return cost.data + cost.penalty;
  }

 private:
  Loss loss() const { return trainer_.trainee().loss; }
  Index n_in() const { return trainer_.trainee().plan.front().n_in; }
  Index n_out() const { return trainer_.trainee().plan.back().n_out; }

  // Whether y is labels or values for m rows; of values only the shape is looked at.
  bool set_targets(Batches<T>& batches, py::handle y, Index m) const {
    if (has_labels(loss())) {
      const auto labels = view_of<std::int64_t>(y);
      if (!labels || labels->shape.size() != 1 || labels->shape[0] != m) return false;
      batches.labels = labels->data;
      return all_labels(labels->data, m, n_out());
    }
    const auto values = view_of<T>(y);
    if (!values || values->shape.size() != 2 || values->shape[0] != m || values->shape[1] != n_out()) return false;
    batches.values = values->data;
    return true;
  }

  void train(const Batches<T>& batches, const Call& call, T* workspace, T* before, Cost* costs, Index& done) {
    if (busy_.test_and_set()) throw std::runtime_error("model: another thread is training it");
    const struct Release {
      std::atomic_flag& flag;
      ~Release() { flag.clear(); }
    } release{busy_};
    without_gil([&] {
      trainer_.run(batches, call.settings(), workspace, before, costs, done, [] {
        py::gil_scoped_acquire acquire;
        if (PyErr_CheckSignals() != 0) throw py::error_already_set();
      });
    });
  }

  Trainer<T> trainer_;
  py::list owners_;  // keeps the arrays alive
  std::atomic_flag busy_ = ATOMIC_FLAG_INIT;
};

Session& session_of(const py::capsule& capsule) {
  const char* name = capsule.name();
  if (!name || std::strcmp(name, Session::name) != 0) throw py::type_error("expected a session");
  return *capsule.get_pointer<Session>();
}

template <class T>
void register_session(py::module_& module) {
  module.def("training_session", [](In<Index> ops, In<double> scalars, Out<T> theta, Out<T> gradient, Out<T> buffers,
                                    std::optional<Out<T>> slot0, std::optional<Out<T>> slot1, Index loss,
                                    std::uint64_t seed, In<Index> updated, In<Index> regularized, int kind,
                                    double beta1, double beta2, double epsilon, double weight_decay, double clip_norm,
                                    py::list owners) {
    Trainee<T> t{};
    t.plan = plan_of(ops, scalars, theta.size(), buffers.size());
    if (loss < 0 || loss > static_cast<Index>(Loss::mse)) throw std::invalid_argument("loss: unknown code");
    t.loss = static_cast<Loss>(loss);
    t.seed = seed;
    t.theta = theta.of_shape({theta.size()}, "theta");
    t.gradient = gradient.of_shape(theta.shape, "gradient");
    t.size = theta.size();
    t.buffers = buffers.data;
    t.slot0 = of_shape_or_null(slot0, theta.shape, "slot0");
    t.slot1 = of_shape_or_null(slot1, theta.shape, "slot1");
    t.rule = rule_of(kind, 0, beta1, beta2, epsilon, weight_decay, clip_norm, slot0.has_value(), slot1.has_value());
    const Run* runs = runs_of(updated, t.size);
    t.updated.assign(runs, runs + updated.shape[0]);
    regularized.of_shape({regularized.extent(0, "regularized"), 2}, "regularized");
    for (Index r = 0; r < regularized.shape[0]; ++r) {
      const Stretch run{regularized.data[2 * r], regularized.data[2 * r + 1]};
      if (run.begin < 0 || run.end < run.begin || run.end > t.size) {
        throw std::invalid_argument("regularized: outside theta");
      }
      t.regularized.push_back(run);
    }
    return py::capsule(static_cast<Session*>(new SessionOf<T>(std::move(t), std::move(owners))), Session::name,
                       [](void* pointer) { delete static_cast<Session*>(pointer); });
  });
}

}  // namespace

void register_training(py::module_& module) {
  register_session<float>(module);
  register_session<double>(module);
  module.def("training_run", [](py::capsule session, py::handle x, py::handle y, py::handle weights, py::handle order,
                                Index batch_size, double learning_rate, double l1, double l2, Index rows, Index steps,
                                std::uint64_t dropout_step, py::handle workspace, py::handle before, Out<double> costs,
                                Out<Index> done) {
    if (rows < 1) throw std::invalid_argument("rows: expected at least 1");
    session_of(session).run(x, y, weights, order, batch_size, {learning_rate, l1, l2, rows, steps, dropout_step},
                            workspace, before, costs, done);
  });
  module.def("training_step",
             [](py::capsule session, py::handle x, py::handle y, double learning_rate, double l1, double l2,
                Index steps, std::uint64_t dropout_step) {
               return session_of(session).step(x, y, {learning_rate, l1, l2, 1, steps, dropout_step});
             });
}

}  // namespace gradproof
