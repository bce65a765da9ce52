#include "gradproof/optimizers.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "gradproof/math.hpp"
#include "gradproof/thread_pool.hpp"

#if defined(__SSE2__) || defined(_M_X64)
#include <immintrin.h>
#endif

namespace gradproof {
namespace {

// While one exists, subnormal numbers count as zero in this thread. An average whose gradient has become zero, as that of
// a dead unit, decays until it is subnormal and stays so, and the step would take 17 times as long for ever after. ARM
// processors have no such penalty.
class SubnormalsAreZero {
#if defined(__SSE2__) || defined(_M_X64)
 public:
  SubnormalsAreZero() { _mm_setcsr(saved_ | flush_results | flush_operands); }
  ~SubnormalsAreZero() { _mm_setcsr(saved_); }
  SubnormalsAreZero(const SubnormalsAreZero&) = delete;
  SubnormalsAreZero& operator=(const SubnormalsAreZero&) = delete;

 private:
  static constexpr unsigned flush_results = 1u << 15, flush_operands = 1u << 6;
  const unsigned saved_ = _mm_getcsr();
#endif
};

// Updates are limited by memory, so threads pay only where theta and the slots leave the inner caches.
constexpr Index chunk = Index(1) << 15;
constexpr Index parallel_size = 4 * chunk;

// What is the same for all parameters in one step, computed in double.
template <class T>
struct Coefficients {
  T rate;          // for adam divided by 1 - b1^t
  T decay;         // a w
  T scale;         // of the gradient, when it is clipped
  T gain1, gain2;  // 1 - b1, 1 - b2
  T root;          // sqrt(s_hat) = root sqrt(s)
  T epsilon;

  Coefficients(const Rule& rule, Index t, double gradient_scale)
      : rate(T(rule.learning_rate / (rule.kind == Optimizer::adam ? correction(rule.beta1, t) : 1))),
        decay(T(rule.learning_rate * rule.weight_decay)),
        scale(T(gradient_scale)),
        gain1(T(1 - rule.beta1)),
        gain2(T(1 - rule.beta2)),
        root(T(rule.kind == Optimizer::adam ? 1 / std::sqrt(correction(rule.beta2, t)) : 1)),
        epsilon(T(rule.epsilon)) {}

 private:
  // 1 - b^t, without cancellation for b near 1
  static double correction(double beta, Index t) { return -std::expm1(double(t) * std::log(beta)); }
};

// The average after one more value.
template <class T>
GRADPROOF_INLINE T moved(T average, T value, T gain) {
  return math::madd(gain, value - average, average);
}

// theta -= decay theta + step(i, gradient), rounded once.
template <class T, class Step>
GRADPROOF_INLINE void descend(T* theta, const T* gradient, Index begin, Index end, T scale, T decay, Step step) {
#pragma omp simd
  for (Index i = begin; i < end; ++i) theta[i] -= math::madd(decay, theta[i], step(i, scale * gradient[i]));
}

template <class T>
void update_run(Optimizer kind, const Coefficients<T>& c, T* theta, T* slot0, T* slot1, const T* gradient,
                const Run& run) {
  [[maybe_unused]] const SubnormalsAreZero scope;
  const T decay = run.decays ? c.decay : T(0);
  const auto all = [&](auto step) { descend(theta, gradient, run.begin, run.end, c.scale, decay, step); };
  switch (kind) {
    case Optimizer::sgd:
      return all([=](Index, T g) { return c.rate * g; });
    case Optimizer::momentum:
      return all([=](Index i, T g) { return c.rate * (slot0[i] = moved(slot0[i], g, c.gain1)); });
    case Optimizer::rmsprop:
      return all([=](Index i, T g) {
        slot0[i] = moved(slot0[i], g * g, c.gain2);
        return c.rate * g / (std::sqrt(slot0[i]) + c.epsilon);
      });
    case Optimizer::adam:
      return all([=](Index i, T g) {
        slot0[i] = moved(slot0[i], g, c.gain1);
        slot1[i] = moved(slot1[i], g * g, c.gain2);
        return c.rate * slot0[i] / math::madd(c.root, std::sqrt(slot1[i]), c.epsilon);
      });
  }
}

// Calls body(run) for every run, large ones cut into chunks.
template <class Body>
void for_chunks(const Run* runs, Index n_runs, Body body) {
  Index size = 0;
  for (Index r = 0; r < n_runs; ++r) size += runs[r].end - runs[r].begin;
  if (size < parallel_size) return void(std::for_each(runs, runs + n_runs, body));
  std::vector<Run> chunks;
  for (Index r = 0; r < n_runs; ++r) {
    for (Index begin = runs[r].begin; begin < runs[r].end; begin += chunk) {
      chunks.push_back({begin, std::min(begin + chunk, runs[r].end), runs[r].decays});
    }
  }
  parallel_for(Index(chunks.size()), [&](Index i, int) { body(chunks[std::size_t(i)]); });
}

template <class T>
double sum_of_squares(const T* gradient, const Run* runs, Index n_runs, double scale) {
  double total = 0;
  for (Index r = 0; r < n_runs; ++r) {
    const Index end = runs[r].end;
#pragma omp simd reduction(+ : total)
    for (Index i = runs[r].begin; i < end; ++i) total += (scale * double(gradient[i])) * (scale * double(gradient[i]));
  }
  return total;
}

}  // namespace

int slot_count(Optimizer kind) {
  return kind == Optimizer::sgd ? 0 : kind == Optimizer::adam ? 2 : 1;
}

template <class T>
double gradient_norm(const T* gradient, const Run* runs, Index n_runs) {
  const double plain = sum_of_squares(gradient, runs, n_runs, 1);
  if (plain > 1e-280 && plain < std::numeric_limits<double>::infinity()) return std::sqrt(plain);
  double largest = 0;
  for (Index r = 0; r < n_runs; ++r) {
    for (Index i = runs[r].begin; i < runs[r].end; ++i) largest = std::max(largest, std::abs(double(gradient[i])));
  }
  if (!(largest > 0) || std::isinf(largest)) return std::sqrt(plain);  // zeros, or infinite, or NaN
  const double scale = std::ldexp(1.0, std::clamp(-std::ilogb(largest), -1000, 1000));
  return std::sqrt(sum_of_squares(gradient, runs, n_runs, scale)) / scale;
}

template <class T>
void update(const Rule& rule, Index t, T* theta, T* slot0, T* slot1, const T* gradient, const Run* runs, Index n_runs) {
  double scale = 1;
  if (rule.clip_norm < std::numeric_limits<double>::infinity()) {
    const double norm = gradient_norm(gradient, runs, n_runs);
    if (norm > rule.clip_norm) scale = rule.clip_norm / norm;
  }
  const Coefficients<T> c(rule, t, scale);
  for_chunks(runs, n_runs,
             [&](const Run& run) { update_run(rule.kind, c, theta, slot0, slot1, gradient, run); });
}

template double gradient_norm(const float*, const Run*, Index);
template double gradient_norm(const double*, const Run*, Index);
template void update(const Rule&, Index, float*, float*, float*, const float*, const Run*, Index);
template void update(const Rule&, Index, double*, double*, double*, const double*, const Run*, Index);

}  // namespace gradproof
