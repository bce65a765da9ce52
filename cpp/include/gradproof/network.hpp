// A network of built-in layers, forward and backward, over a plan, a flat theta and a workspace.
//
// The workspace is one array of T that the caller owns: what the forward pass leaves in it is what the backward pass
// and the difference engine read. Nothing here allocates more than a list of pointers.
#pragma once

#include <vector>

#include "plan.hpp"

namespace gradproof {

// Where one op keeps what it computed, for a batch of m rows.
template <class T>
struct Record {
  T* output;  // (m, n_out)
  // batch norm
  T* x_hat;     // (m, n)
  T* mean;      // (n), like the next two
  T* inv_std;
  T* variance;
  std::int32_t* winner;  // maxout: the piece that won, (m, n_out)
  T* mask;               // dropout: (m, n), 0 or 1/keep_prob
};

template <class T>
struct Workspace {
  std::vector<Record<T>> records;  // one per op
  T* dy = nullptr;                 // two gradients of the widest activation, (m, widest)
  T* dx = nullptr;
  Index size = 0;  // in scalars of T
};

// Lays a workspace out over `memory`; with nullptr, only its size is meaningful.
template <class T>
Workspace<T> lay_out(const Plan& plan, Index m, T* memory);

// Which random numbers the dropout masks are made from.
struct Stream {
  std::uint64_t seed, step;
};

// y = scores of the last op, (m, n_out), left in the last record. training: batch statistics and dropout masks are
// computed and recorded; otherwise running statistics are used and dropout is the identity. The ops before `first` are
// left as an earlier pass recorded them.
template <class T>
void network_forward(const Plan& plan, const T* theta, const T* buffers, const T* x, Index m,
                     const Workspace<T>& workspace, bool training, Stream stream, std::size_t first = 0);

// The same as a training forward pass, with the products x W accumulated in twice the precision, so that every output is
// within an ulp or two of what its inputs imply. What gradients are measured from; too slow to train with.
template <class T>
void careful_forward(const Plan& plan, const T* theta, const T* x, Index m, const Workspace<T>& workspace,
                     Stream stream);

// running = decay running + (1 - decay) batch, for every batch norm, from the last training forward pass.
template <class T>
void network_update_statistics(const Plan& plan, T* buffers, const Workspace<T>& workspace);

// After a training forward pass: gradient += dJ/dtheta and, unless null, dx = dJ/dx, given dy = dJ/dscores.
// Unless null, inner[k] becomes dJ/d(input of op k), for every op but the first. `fresh`: the gradient is taken for zero
// whatever it holds.
template <class T>
void network_backward(const Plan& plan, const T* theta, const T* x, Index m, const T* dy, T* gradient, T* dx,
                      const Workspace<T>& workspace, std::vector<std::vector<T>>* inner = nullptr, bool fresh = false);

// The mean loss of the scores over m rows; writes its gradient unless dscores is null.
template <class T>
double data_loss(const Targets<T>& targets, T* dscores, const T* scores, Index m, Index n);

}  // namespace gradproof
