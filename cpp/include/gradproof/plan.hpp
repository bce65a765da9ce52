// The list of operations that a network of built-in layers compiles to, with the places of its parameters in theta.
#pragma once

#include <vector>

#include "types.hpp"

namespace gradproof {

// The numbers are part of the interface with Python (nn/plan.py).
enum class Kind : Index {
  dense = 0,
  batch_norm = 1,
  relu = 2,
  leaky_relu = 3,
  tanh = 4,
  sigmoid = 5,
  softmax = 6,
  maxout = 7,
  dropout = 8,
};

struct Op {
  Kind kind;
  Index n_in, n_out;
  Index weight, bias;  // offsets into theta, -1 where there is none: W and b of a dense op, gamma and beta of batch norm
  Index aux;           // batch norm: offset of the running mean in buffers; maxout: pieces; dropout: random stream
  double scalar[2];    // leaky ReLU: slope; dropout: keep_prob; batch norm: epsilon, decay
};

using Plan = std::vector<Op>;

// The op that a parameter belongs to, the column of the op's output that it feeds, and its row in W (-1: a bias, or beta).
struct Owner {
  std::size_t op;
  Index column, row;
};

// The owner of theta[parameter]; op is plan.size() if the plan has none.
inline Owner owner_of(const Plan& plan, Index parameter) {
  for (std::size_t k = 0; k < plan.size(); ++k) {
    const Op& op = plan[k];
    const Index rows = op.kind == Kind::dense ? op.n_in : 1;
    if (op.weight >= 0 && parameter >= op.weight && parameter < op.weight + rows * op.n_out) {
      return {k, (parameter - op.weight) % op.n_out, (parameter - op.weight) / op.n_out};
    }
    if (op.bias >= 0 && parameter >= op.bias && parameter < op.bias + op.n_out) return {k, parameter - op.bias, -1};
  }
  return {plan.size(), 0, -1};
}

enum class Loss : Index { softmax_cross_entropy = 0, hinge = 1, binary_cross_entropy = 2, mse = 3 };

inline bool has_labels(Loss loss) { return loss == Loss::softmax_cross_entropy || loss == Loss::hinge; }

// The targets of a loss: labels (m) for the two classification losses, values (m, n_out) for the others.
template <class T>
struct Targets {
  Loss loss;
  const std::int64_t* labels = nullptr;
  const T* values = nullptr;
};

// Reads rows [kind, n_in, n_out, weight, bias, aux] and their two scalars; throws std::invalid_argument when an op is
// unknown, widths do not follow one another, or a parameter or buffer lies outside its vector.
Plan read_plan(const Index* ops, const double* scalars, Index n_ops, Index theta_size, Index buffers_size);

}  // namespace gradproof
