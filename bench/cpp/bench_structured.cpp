// The structured pass over all parameters: one item is one parameter. The last argument is the number of threads.
#include <benchmark/benchmark.h>

#include <string>
#include <vector>

#include "gradproof/difference.hpp"
#include "gradproof/thread_pool.hpp"

using namespace gradproof;

namespace {

struct Problem {
  const char* name;
  std::vector<Index> widths;
  Index m;
};

const std::vector<Problem> problems{
    {"64-32-10", {64, 32, 10}, 8},
    {"64-128-64-10", {64, 128, 64, 10}, 8},
    {"784-100-10", {784, 100, 10}, 8},
    {"784-512-512-10", {784, 512, 512, 10}, 4},
};

// Dense layers with an activation between them, softmax cross-entropy, at a forward pass.
template <class T>
struct Net {
  Net(const Problem& problem, Kind activation) : m(problem.m) {
    Index size = 0;
    for (std::size_t l = 1; l < problem.widths.size(); ++l) {
      const Index n_in = problem.widths[l - 1], n_out = problem.widths[l];
      if (l > 1) plan.push_back({activation, n_in, n_in, -1, -1, -1, {0, 0}});
      plan.push_back({Kind::dense, n_in, n_out, size, size + n_in * n_out, -1, {0, 0}});
      size += (n_in + 1) * n_out;
    }
    std::uint32_t state = 1;
    const auto fill = [&state](std::vector<T>& values, Index count, double scale) {
      for (Index i = 0; i < count; ++i) {
        state = state * 1664525u + 1013904223u;
        values.push_back(static_cast<T>(scale * (double(state) / 0x1p31 - 1)));
      }
    };
    fill(theta, size, 0.1);
    fill(x, m * problem.widths.front(), 1);
    for (Index s = 0; s < m; ++s) labels.push_back(s % problem.widths.back());
    memory.resize(static_cast<std::size_t>(lay_out<T>(plan, m, nullptr).size));
    workspace = lay_out(plan, m, memory.data());
    network_forward<T>(plan, theta.data(), nullptr, x.data(), m, workspace, true, {0, 0});
  }
  Net(const Net&) = delete;  // the workspace points into it

  Point<T> point() const {
    const Targets<T> targets{Loss::softmax_cross_entropy, labels.data(), nullptr};
    return {plan, theta.data(), static_cast<Index>(theta.size()), x.data(), m, targets, workspace};
  }

  Plan plan;
  Index m;
  std::vector<T> theta, x, memory;
  std::vector<std::int64_t> labels;
  Workspace<T> workspace;
};

template <class T>
void pass(benchmark::State& state, const Problem& problem, Kind activation, Scheme scheme) {
  set_thread_count(static_cast<int>(state.range(0)));
  const Net<T> net(problem, activation);
  const Point<T> point = net.point();
  const T step = scheme == Scheme::loss ? T(1e-3) : T(0x1p-48);
  std::vector<double> change(net.theta.size());
  std::vector<std::uint8_t> kink(net.theta.size());
  const Probes<T> probes{nullptr, 0, &step, true};
  for (auto _ : state) {
    structured_pass(point, scheme, probes, change.data(), scheme == Scheme::difference ? kink.data() : nullptr);
    benchmark::DoNotOptimize(change.data());
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(state.iterations() * net.theta.size()));
}

template <class T>
void errors(benchmark::State& state, const Problem& problem, Kind activation) {
  const Net<T> net(problem, activation);
  const Point<T> point = net.point();
  std::vector<double> error(net.theta.size());
  for (auto _ : state) {
    benchmark::DoNotOptimize(rounding_errors(point, 0.0, error.data()));
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(state.iterations() * net.theta.size()));
}

template <class T>
void register_for(const std::string& type) {
  for (const Problem& problem : problems) {
    for (const Kind activation : {Kind::relu, Kind::tanh}) {
      const std::string end = std::string("/") + problem.name + (activation == Kind::relu ? "/relu/" : "/tanh/") + type;
      const auto add = [&](const char* name, Scheme scheme) {
        benchmark::RegisterBenchmark((name + end).c_str(), [&problem, activation, scheme](benchmark::State& state) {
          pass<T>(state, problem, activation, scheme);
        })->Arg(1)->Arg(2)->UseRealTime()->Unit(benchmark::kMillisecond);
      };
      add("difference", Scheme::difference);
      add("tangent", Scheme::tangent);
      add("loss", Scheme::loss);
      benchmark::RegisterBenchmark(("rounding_errors" + end).c_str(), [&problem, activation](benchmark::State& state) {
        errors<T>(state, problem, activation);
      })->Unit(benchmark::kMillisecond);
    }
  }
}

const bool registered = [] {
  register_for<float>("float");
  register_for<double>("double");
  return true;
}();

}  // namespace
