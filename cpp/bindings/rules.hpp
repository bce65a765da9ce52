// Optimizers' rules and runs of parameters as bindings are given them, checked.
#pragma once

#include "arrays.hpp"
#include "gradproof/optimizers.hpp"

namespace gradproof {

// Runs are updated by several threads at once, so they must not overlap.
inline const Run* runs_of(const In<Index>& runs, Index size) {
  static_assert(sizeof(Run) == 3 * sizeof(Index));
  const Index count = runs.extent(0, "runs");
  runs.of_shape({count, 3}, "runs");
  const Run* first = reinterpret_cast<const Run*>(runs.data);
  Index end = 0;
  for (Index r = 0; r < count; ++r) {
    if (first[r].begin < end || first[r].end < first[r].begin || first[r].end > size) {
      throw std::invalid_argument("runs: expected ascending ranges in 0 to " + std::to_string(size));
    }
    end = first[r].end;
  }
  return first;
}

// A rule for an optimizer that comes with so many slots.
inline Rule rule_of(int kind, double learning_rate, double beta1, double beta2, double epsilon, double weight_decay,
                    double clip_norm, bool slot0, bool slot1) {
  if (kind < 0 || kind > int(Optimizer::adam)) throw std::invalid_argument("kind: expected 0 to 3");
  const Rule rule{Optimizer(kind), learning_rate, beta1, beta2, epsilon, weight_decay, clip_norm};
  if (int(slot0) + int(slot1) != slot_count(rule.kind) || (slot1 && !slot0)) {
    throw std::invalid_argument("slots: expected " + std::to_string(slot_count(rule.kind)));
  }
  return rule;
}

}  // namespace gradproof
