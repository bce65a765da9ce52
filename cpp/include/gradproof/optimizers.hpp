// Optimizers: one fused pass over the parameters theta, their gradient g and the optimizer's slots, of theta's size.
// Instantiated for float and double in optimizers.cpp. With the rate a and the decay w, in every step t = 1, 2, ...
//
//   all       theta -= a w theta, where it decays (decoupled weight decay: Loshchilov and Hutter 2019)
//   sgd       theta -= a g
//   momentum  v = b1 v + (1 - b1) g;  theta -= a v
//   rmsprop   s = b2 s + (1 - b2) g^2;  theta -= a g / (sqrt(s) + e)     (Tieleman and Hinton 2012)
//   adam      m = b1 m + (1 - b1) g;  s = b2 s + (1 - b2) g^2;           (Kingma and Ba 2015, algorithm 1)
//             theta -= a m_hat / (sqrt(s_hat) + e),  m_hat = m / (1 - b1^t),  s_hat = s / (1 - b2^t)
//
// Averages are written as v += (1 - b)(g - v): 1 - b keeps all its digits in float, while b and 1 - b, each rounded, would
// not add up to 1, which for b = 0.999 makes the average too large by 1.3e-5.
#pragma once

#include "types.hpp"

namespace gradproof {

enum class Optimizer { sgd = 0, momentum = 1, rmsprop = 2, adam = 3 };

struct Rule {
  Optimizer kind;
  double learning_rate;
  double beta1, beta2, epsilon;  // those that the kind has
  double weight_decay;
  double clip_norm;  // the gradient is scaled down to this 2-norm; infinity: never
};

// The number of slots: momentum has v, rmsprop s, adam m and s.
int slot_count(Optimizer kind);

// A run of parameters that are updated; those in no run are frozen. The same memory as a row of int64.
struct Run {
  Index begin, end, decays;
};

// One step, the t-th. The norm to clip is that of all runs together. Slots that the kind does not have are null.
template <class T>
void update(const Rule& rule, Index t, T* theta, T* slot0, T* slot1, const T* gradient, const Run* runs, Index n_runs);

// The 2-norm over all runs, summed in double; safe from overflow and underflow.
template <class T>
double gradient_norm(const T* gradient, const Run* runs, Index n_runs);

}  // namespace gradproof
