// The parameters of a structured pass, grouped by the column that they feed: what one worker does in one go.
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "gradproof/plan.hpp"

namespace gradproof {

// Parameters that feed one column: where their results go, and their rows in W (-1: the bias, or beta).
struct Seeds {
  std::vector<Index> places, rows;

  Index size() const { return static_cast<Index>(rows.size()); }
  void clear() {
    places.clear();
    rows.clear();
  }
  void append(Index place, Index row) {
    places.push_back(place);
    rows.push_back(row);
  }
};

// All parameters that feed one column of one op.
struct Unit {
  std::size_t op;
  Index column;
  Index begin = 0, end = 0;  // its entries in the sorted list of probes, when there is one
};

class Units {
 public:
  // entries: nullptr for all parameters of the plan.
  Units(const Plan& plan, Index m, const Index* entries, Index count) : plan_(plan), m_(m), entries_(entries) {
    behind_.assign(plan.size() + 1, static_cast<double>(plan.back().n_out));
    for (std::size_t k = plan.size(); k-- > 0;) {
      behind_[k] = behind_[k + 1] + (plan[k].kind == Kind::dense ? double(plan[k].n_in) * double(plan[k].n_out)
                                                                 : double(plan[k].n_in));
    }
    if (entries) {
      group(count);
    } else {
      list_all();
    }
  }

  const std::vector<Unit>& list() const { return units_; }

  // The cost of the pass, in multiplications.
  double work() const { return work_; }

  void seeds(const Unit& unit, Seeds& seeds) const {
    const Op& op = plan_[unit.op];
    seeds.clear();
    if (entries_) {
      for (Index at = unit.begin; at < unit.end; ++at) {
        const Index place = order_[static_cast<std::size_t>(at)];
        seeds.append(place, owner_of(plan_, entries_[place]).row);
      }
      return;
    }
    const Index rows = op.kind == Kind::dense ? op.n_in : 1;
    for (Index i = 0; i < rows; ++i) seeds.append(op.weight + i * op.n_out + unit.column, i);
    if (op.bias >= 0) seeds.append(op.bias + unit.column, -1);
  }

 private:
  static constexpr double row_cost = 20;  // of a changed row by itself, in multiplications

  double seed_cost(std::size_t op) const {
    return double(m_) * (row_cost + behind_[std::min(op + 3, plan_.size())]);
  }

  void list_all() {
    for (std::size_t k = 0; k < plan_.size(); ++k) {
      if (plan_[k].weight < 0) continue;
      for (Index j = 0; j < plan_[k].n_out; ++j) units_.push_back({k, j});
      work_ += double(plan_[k].n_in) * double(plan_[k].n_out) * seed_cost(k);
    }
  }

  void group(Index count) {
    std::vector<Owner> owners(static_cast<std::size_t>(count));
    for (Index e = 0; e < count; ++e) {
      const Owner& owner = owners[static_cast<std::size_t>(e)] = owner_of(plan_, entries_[e]);
      if (owner.op == plan_.size()) continue;
      order_.push_back(e);
      work_ += seed_cost(owner.op);
    }
    const auto key = [&](Index e) {
      const Owner& owner = owners[static_cast<std::size_t>(e)];
      return std::pair(owner.op, owner.column);
    };
    std::stable_sort(order_.begin(), order_.end(), [&](Index a, Index b) { return key(a) < key(b); });
    for (std::size_t at = 0; at < order_.size(); ++at) {
      const Index position = static_cast<Index>(at);
      const auto [op, column] = key(order_[at]);
      if (at == 0 || key(order_[at]) != key(order_[at - 1])) units_.push_back({op, column, position});
      units_.back().end = position + 1;
    }
  }

  const Plan& plan_;
  const Index m_;
  const Index* const entries_;
  std::vector<double> behind_;  // multiplications of a row from an op on
  std::vector<Unit> units_;
  std::vector<Index> order_;  // positions of the entries, grouped by unit
  double work_ = 0;
};

}  // namespace gradproof
