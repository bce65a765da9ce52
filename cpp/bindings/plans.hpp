// Plans and workspaces as bindings are given them, checked.
#pragma once

#include <limits>

#include "arrays.hpp"
#include "gradproof/network.hpp"

namespace gradproof {

inline Plan plan_of(const In<Index>& ops, const In<double>& scalars, Index theta_size, Index buffers_size) {
  const Index n_ops = ops.extent(0, "ops");
  ops.of_shape({n_ops, 6}, "ops");
  scalars.of_shape({n_ops, 2}, "scalars");
  if (n_ops == 0) throw std::invalid_argument("ops: expected at least one");
  return read_plan(ops.data, scalars.data, n_ops, theta_size, buffers_size);
}

inline constexpr Index any_size = std::numeric_limits<Index>::max();

template <class T>
Workspace<T> workspace_of(const Plan& plan, Index m, T* memory, Index size) {
  const Index needed = lay_out<T>(plan, m, nullptr).size;
  if (size < needed) {
    throw std::invalid_argument("workspace: expected " + std::to_string(needed) + " elements, got " +
                                std::to_string(size));
  }
  return lay_out<T>(plan, m, memory);
}

}  // namespace gradproof
