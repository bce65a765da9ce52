#include <algorithm>
#include <vector>

#include "gradproof/difference.hpp"
#include "gradproof/thread_pool.hpp"

namespace gradproof {

template <class T>
void ordinary_losses(const Point<T>& point, const T* buffers, Stream stream, const Index* entries, const T* steps,
                     Index count, double* losses) {
  // Each unit is a block of entries with its own copy of theta: the caller's is only read. What stands below the changed
  // parameter, and below the one before it, is as the last pass left it.
  constexpr Index block = 16;
  const Plan& plan = point.plan;
  double work = 0;
  for (const Op& op : plan) work += static_cast<double>(op.n_in) * static_cast<double>(op.kind == Kind::dense ? op.n_out : 1);
  work *= static_cast<double>(count) * static_cast<double>(point.m);
  const Index units = (count + block - 1) / block;
  const auto run = [&](Index unit, int) {
    std::vector<T> theta(point.theta, point.theta + point.theta_size);
    std::vector<T> memory(static_cast<std::size_t>(lay_out<T>(plan, point.m, nullptr).size));
    const Workspace<T> workspace = lay_out<T>(plan, point.m, memory.data());
    std::size_t changed = 0;
    for (Index e = unit * block; e < std::min((unit + 1) * block, count); ++e) {
      const std::size_t op = owner_of(plan, entries[e]).op;
      T& parameter = theta[static_cast<std::size_t>(entries[e])];
      const T kept = parameter;
      parameter += steps[e];
      network_forward(plan, theta.data(), buffers, point.x, point.m, workspace, true, stream, std::min(op, changed));
      losses[e] = data_loss<T>(point.targets, nullptr, workspace.records.back().output, point.m, plan.back().n_out);
      parameter = kept;
      changed = op;
    }
  };
  if (work < parallel_threshold) {
    for (Index unit = 0; unit < units; ++unit) run(unit, 0);
  } else {
    parallel_for(units, run);
  }
}

template void ordinary_losses<float>(const Point<float>&, const float*, Stream, const Index*, const float*, Index,
                                     double*);
template void ordinary_losses<double>(const Point<double>&, const double*, Stream, const Index*, const double*, Index,
                                      double*);

}  // namespace gradproof
