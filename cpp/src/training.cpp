#include "gradproof/training.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <new>

#include "gradproof/product.hpp"
#include "gradproof/regularization.hpp"

namespace gradproof {
namespace {

constexpr std::size_t alignment = 64;  // a cache line, and the longest vector
constexpr auto pause_interval = std::chrono::milliseconds(50);

Index aligned(Index count, std::size_t scalar_size) {
  const auto per_line = static_cast<Index>(alignment / scalar_size);
  return (count + per_line - 1) / per_line * per_line;
}

template <class T>
Targets<T> row_of(const Targets<T>& targets, Index i, Index n) {
  return {targets.loss, targets.labels ? targets.labels + i : nullptr, targets.values ? targets.values + i * n : nullptr};
}

template <class T>
bool all_finite(const T* values, const std::vector<Run>& runs) {
  int bad = 0;  // loops over a bool do not vectorize
  for (const Run& run : runs) {
#pragma omp simd reduction(| : bad)
    for (Index i = run.begin; i < run.end; ++i) bad |= int(!(std::abs(values[i]) <= std::numeric_limits<T>::max()));
  }
  return bad == 0;
}

}  // namespace

template <class T>
double weighted_loss(const Targets<T>& targets, const T* weights, T* dscores, const T* scores, Index m, Index n) {
  if (!weights) return data_loss(targets, dscores, scores, m, n);
  double total = 0, value = 0;
  for (Index i = 0; i < m; ++i) total += double(weights[i]);
  std::fill(dscores, dscores + m * n, T(0));
  for (Index i = 0; i < m; ++i) {
    if (weights[i] == 0) continue;  // as if the row were not there
    T* drow = dscores + i * n;
    const double share = double(weights[i]) / total;
    value += share * data_loss(row_of(targets, i, n), drow, scores + i * n, 1, n);
    for (Index j = 0; j < n; ++j) drow[j] *= T(share);
  }
  return value;
}

template <class T>
void Trainer<T>::Free::operator()(T* memory) const {
  ::operator delete[](memory, std::align_val_t(alignment));
}

// Lays the workspace out for batches of m rows. Memory is only ever made larger.
template <class T>
void Trainer<T>::make_room(Index m, bool gather, T* given) {
  if (m == rows_ && gather == gathers_ && given == given_) return;
  const Plan& plan = trainee_.plan;
  const Index n_in = plan.front().n_in, n_out = plan.back().n_out;
  Index needed = 0;
  const auto take = [&needed](Index count) {
    const Index start = needed;
    needed += aligned(count, sizeof(T));
    return start;
  };
  const Index workspace = take(given ? 0 : lay_out<T>(plan, m, nullptr).size), dscores = take(m * n_out);
  const Index x = take(gather ? m * n_in : 0), values = take(gather ? m * n_out : 0), weights = take(gather ? m : 0);
  if (needed > capacity_) {
    memory_.reset(static_cast<T*>(::operator new[](std::size_t(needed) * sizeof(T), std::align_val_t(alignment))));
    capacity_ = needed;
  }
  T* start = memory_.get();
  workspace_ = lay_out(plan, m, given ? given : start + workspace);
  dscores_ = start + dscores;
  x_ = start + x;
  values_ = start + values;
  weights_ = start + weights;
  if (gather) labels_.resize(std::max(labels_.size(), std::size_t(m)));
  rows_ = m;
  gathers_ = gather;
  given_ = given;
}

// The inputs of a batch, one row after the other, and with them its targets and weights.
template <class T>
const T* Trainer<T>::gathered(const Batches<T>& batches, Index first, Index m, Targets<T>& targets,
                              const T*& weights) {
  const Index n_in = trainee_.plan.front().n_in, n_out = trainee_.plan.back().n_out;
  if (!batches.order) {
    weights = batches.weights ? batches.weights + first : nullptr;
    targets = row_of(Targets<T>{trainee_.loss, batches.labels, batches.values}, first, n_out);
    return batches.x + first * n_in;
  }
  const Index* rows = batches.order + first;
  for (Index i = 0; i < m; ++i) {
    const T* row = batches.x + rows[i] * n_in;
    std::copy(row, row + n_in, x_ + i * n_in);
    if (batches.labels) {
      labels_[std::size_t(i)] = batches.labels[rows[i]];
    } else {
      std::copy_n(batches.values + rows[i] * n_out, n_out, values_ + i * n_out);
    }
    if (batches.weights) weights_[i] = batches.weights[rows[i]];
  }
  weights = batches.weights ? weights_ : nullptr;
  targets = {trainee_.loss, batches.labels ? labels_.data() : nullptr, batches.labels ? nullptr : values_};
  return x_;
}

// The cost of a batch; its gradient in trainee.gradient.
template <class T>
Cost Trainer<T>::differentiate(const T* x, const Targets<T>& targets, const T* weights, Index m,
                               const Settings& settings) {
  const Trainee<T>& t = trainee_;
  network_forward(t.plan, t.theta, t.buffers, x, m, workspace_, true, {t.seed, settings.dropout_step});
  Cost cost{};
  cost.data = weighted_loss(targets, weights, dscores_, workspace_.records.back().output, m, t.plan.back().n_out);
  network_backward<T>(t.plan, t.theta, x, m, dscores_, t.gradient, nullptr, workspace_, nullptr, true);
  const auto penalize = [&](double (*penalty)(T*, const T*, Index, T), double strength) {
    if (!(strength > 0)) return;
    for (const Stretch& run : t.regularized) {
      cost.penalty += penalty(t.gradient + run.begin, t.theta + run.begin, run.end - run.begin, T(strength));
    }
  };
  penalize(l2<T>, settings.l2);
  penalize(l1<T>, settings.l1);
  return cost;
}

template <class T>
void Trainer<T>::run(const Batches<T>& batches, Settings settings, T* workspace, T* before, Cost* costs, Index& done,
                     const std::function<void()>& pause) {
  const MatrixUnit scope;
  Rule rule = trainee_.rule;
  rule.learning_rate = settings.learning_rate;
  auto paused = std::chrono::steady_clock::now();
  for (Index first = 0; first < batches.count; first += batches.size) {
    const Index m = std::min(batches.size, batches.count - first);
    make_room(m, batches.order != nullptr, workspace);
    Targets<T> targets{};
    const T* weights = nullptr;
    const T* x = gathered(batches, first, m, targets, weights);
    Cost& cost = *costs++ = differentiate(x, targets, weights, m, settings);
    if (!all_finite(trainee_.gradient, trainee_.updated)) cost.penalty = std::numeric_limits<double>::quiet_NaN();
    if (!std::isfinite(cost.data + cost.penalty)) return;
    if (before && first + m == batches.count) std::copy_n(trainee_.theta, trainee_.size, before);
    update(rule, ++settings.steps, trainee_.theta, trainee_.slot0, trainee_.slot1, trainee_.gradient,
           trainee_.updated.data(), Index(trainee_.updated.size()));
    network_update_statistics(trainee_.plan, trainee_.buffers, workspace_);
    ++settings.dropout_step;
    ++done;
    const auto now = std::chrono::steady_clock::now();
    if (now - paused > pause_interval) {
      pause();
      paused = now;
    }
  }
}

template double weighted_loss(const Targets<float>&, const float*, float*, const float*, Index, Index);
template double weighted_loss(const Targets<double>&, const double*, double*, const double*, Index, Index);
template class Trainer<float>;
template class Trainer<double>;

}  // namespace gradproof
