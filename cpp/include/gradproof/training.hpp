// Training steps: forward, backward and update on one mini-batch after the other, without an allocation between them.
// Instantiated for float and double in training.cpp.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "network.hpp"
#include "optimizers.hpp"

namespace gradproof {

// A run of regularized parameters.
struct Stretch {
  Index begin, end;
};

// One model and the state of its optimizer. The vectors belong to the caller.
template <class T>
struct Trainee {
  Plan plan;
  Loss loss;
  std::uint64_t seed;        // of the dropout masks
  T *theta, *gradient;       // (size)
  Index size;
  T* buffers;
  T *slot0, *slot1;          // (size), null where the optimizer has none
  Rule rule;
  std::vector<Run> updated;  // what is not frozen
  std::vector<Stretch> regularized;
};

// Consecutive mini-batches of `size` rows, the last one as short as need be: rows order[0], order[1], ... of the data, or
// its rows as they lie where order is null.
template <class T>
struct Batches {
  const T* x;
  const std::int64_t* labels;  // one of the two, as the loss wants it
  const T* values;
  const T* weights;  // one per row of the data, or null
  const Index* order;
  Index count, size;
};

// What changes between calls.
struct Settings {
  double learning_rate;
  double l1, l2;               // c of c sum |W| and c/2 sum W^2
  Index steps;                 // that the optimizer has made before
  std::uint64_t dropout_step;  // of the first batch
};

// Mean loss on the batch, and the penalty: NaN where the gradient of what is updated is not finite.
struct Cost {
  double data, penalty;
};

template <class T>
class Trainer {
 public:
  explicit Trainer(Trainee<T> trainee) : trainee_(std::move(trainee)) {}

  const Trainee<T>& trainee() const { return trainee_; }

  // Trains on all batches, writes the cost of each before its update to costs, counts them in `done`, and calls pause now
  // and then. A batch whose cost is not finite changes nothing but the gradient, is not counted, and is the last.
  // The workspace is that of the largest batch, laid out anew for each size; null: one of the trainer's own.
  // before (size), unless null, becomes theta as it is before the last batch's update.
  void run(const Batches<T>& batches, Settings settings, T* workspace, T* before, Cost* costs, Index& done,
           const std::function<void()>& pause);

 private:
  struct Free {
    void operator()(T* memory) const;
  };

  void make_room(Index m, bool gather, T* workspace);
  Cost differentiate(const T* x, const Targets<T>& targets, const T* weights, Index m, const Settings& settings);
  const T* gathered(const Batches<T>& batches, Index first, Index m, Targets<T>& targets, const T*& weights);

  Trainee<T> trainee_;
  std::unique_ptr<T[], Free> memory_;
  Index capacity_ = 0;  // of memory_, in scalars
  // What everything is laid out for.
  Index rows_ = 0;
  bool gathers_ = false;
  T* given_ = nullptr;
  Workspace<T> workspace_;
  T *dscores_ = nullptr, *x_ = nullptr, *values_ = nullptr, *weights_ = nullptr;
  std::vector<std::int64_t> labels_;
};

// sum w_i L_i / sum w_i over m rows, 0 if all weights are; with its gradient. Without weights, the mean.
template <class T>
double weighted_loss(const Targets<T>& targets, const T* weights, T* dscores, const T* scores, Index m, Index n);

}  // namespace gradproof
