// The structured per-parameter loop: what every single parameter does to the loss.
//
// Changing W[i,j] of one layer changes one column of its output, by step * x[:,i]. Elementwise layers, batch norm,
// dropout and maxout keep the change in one column; the next dense layer turns it into a rank-1 change; only layers
// behind that need matrix products, and these run on the changes of many parameters stacked as rows. One pass costs
// about  P * m * (n_{l+1} + products of the layers behind)  multiplications instead of P whole forward passes.
//
// What travels is one of three things:
//   difference  the change itself, through algebraic difference forms f(x + d) - f(x) written without cancellation
//               (for tanh, (1 - a^2) t / (1 + a t) with t = tanh d), so that a step of 2^-300 is as good as any and the
//               quotient is accurate to rounding;
//   tangent     the directional derivative; the slopes of the activations are measured on their forward functions;
//   loss        the perturbed values themselves, in the precision of T: the textbook's J(theta + step), with all its
//               cancellation when two of them are subtracted.
#pragma once

#include <functional>

#include "network.hpp"

namespace gradproof {

enum class Scheme : Index { difference = 0, tangent = 1, loss = 2 };

// The network at the point where it is examined: theta, a batch, and the workspace of the training forward pass there.
template <class T>
struct Point {
  const Plan& plan;
  const T* theta;
  Index theta_size;
  const T* x;  // (m, n_in)
  Index m;
  Targets<T> targets;
  const Workspace<T>& workspace;

  const T* input(std::size_t op) const { return op == 0 ? x : workspace.records[op - 1].output; }
  const T* scores() const { return input(plan.size()); }
};

// Which parameters are moved, and how far. Without entries: all of them, with change[i] belonging to theta[i].
template <class T>
struct Probes {
  const Index* entries = nullptr;
  Index count = 0;           // of entries
  const T* steps = nullptr;  // one for each entry (each parameter, without entries), or a single one
  bool single_step = true;
};

// change[i]: J(theta + step e_i) - J(theta) (difference), its derivative (tangent; the step is not used) or
// J(theta + step e_i) (loss), J being the mean loss of the batch without penalties.
// kink[i] != 0: on the way to the loss some maximum (ReLU, leaky ReLU, maxout, hinge) took another branch than at
// theta, or stood exactly at a tie that the step breaks (difference only; nullptr: not wanted).
// A parameter that no op of the plan owns keeps what change and kink held before.
// interrupted: asked some twenty times a second, by the calling thread; from where it says true, change is NaN. Returns
// whether it never did.
template <class T>
bool structured_pass(const Point<T>& point, Scheme scheme, const Probes<T>& probes, double* change, std::uint8_t* kink,
                     const std::function<bool()>& interrupted = {});

// steps[i]: a power of two so small that a change of theta[i] by it stays tiny, whatever multiplies it on its way, beside
// everything that it meets (distances to kinks, the scale of 1 on which the curves bend), but no smaller: so that as
// little as possible underflows. Parameters that no op of the plan owns keep what steps held before.
template <class T>
void tiny_steps(const Point<T>& point, T* steps);

// error[i]: the standard deviation, in units of the round-off of T, of the rounding error of dJ/dtheta[i] as
// backpropagation computes it. Every operation is taken to err independently of the others by about one unit; the errors
// are carried along, forward to the scores and back to the parameters, one pass each: to first order, and products of two
// errors where both factors may be nothing else. Includes what underflow takes from differences of tiny_steps. Returns
// the error of J.
// input_error: the relative error of x, in the same units; 0 for data.
// References: N. J. Higham, T. Mary, A new approach to probabilistic rounding error analysis, SIAM J. Sci. Comput. 41
// (2019); N. J. Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., section 3.3 (running error).
template <class T>
double rounding_errors(const Point<T>& point, double input_error, double* error);

// losses[k] = J(theta + steps[k] e_entries[k]) by the ordinary forward pass, nothing structured: the oracle's oracle.
template <class T>
void ordinary_losses(const Point<T>& point, const T* buffers, Stream stream, const Index* entries, const T* steps,
                     Index count, double* losses);

}  // namespace gradproof
