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

// numerator / (root sqrt(s) + epsilon)
template <class T>
GRADPROOF_INLINE T ratio(T numerator, T s, T root, T epsilon) {
  return numerator / math::madd(root, std::sqrt(s), epsilon);
}

#if defined(__AVX512F__) && defined(__AVX512DQ__) && defined(__GNUC__)
// Sixteen floats at once, to which GCC and Clang apply + - * as well. One unit takes roots and divides, while the others wait:
// the inverse is an estimate of 14 bits and a step of Newton's method, as accurate as a rounding.
#define GRADPROOF_ESTIMATES
constexpr Index lanes = 16;

GRADPROOF_INLINE __m512 madd(__m512 a, __m512 b, __m512 c) { return _mm512_fmadd_ps(a, b, c); }

GRADPROOF_INLINE __m512 ratio(__m512 numerator, __m512 s, __m512 root, __m512 epsilon) {
  const __m512 one = _mm512_set1_ps(1), d = madd(root, _mm512_maskz_sqrt_ps(0xFFFF, s), epsilon);
  const __m512 inverse = _mm512_rcp14_ps(d);
  const __mmask16 finite = _mm512_cmp_ps_mask(d, _mm512_set1_ps(std::numeric_limits<float>::infinity()), _CMP_NEQ_UQ);
  return numerator * _mm512_mask_fmadd_ps(inverse, finite, _mm512_fnmadd_ps(d, inverse, one), inverse);
}
#endif

using math::madd;

// The average after one more value.
template <class V>
GRADPROOF_INLINE V moved(V average, V value, V gain) {
  return madd(gain, value - average, average);
}

// Of squares: one that overflows makes the average infinite for ever, not NaN, which infinity - infinity would give.
template <class T>
GRADPROOF_INLINE T capped(T average) {
  constexpr T infinity = std::numeric_limits<T>::infinity();
  return average < infinity ? average : infinity;
}
#if defined(GRADPROOF_ESTIMATES)
GRADPROOF_INLINE __m512 capped(__m512 average) {
  return _mm512_maskz_min_ps(0xFFFF, average, _mm512_set1_ps(std::numeric_limits<float>::infinity()));  // NaN: the second
}
#endif

// V is T, or several of them; `all` makes a V of a T. `step` is what is subtracted from theta, and moves the averages.
template <class T>
struct Sgd {
  static constexpr int slots = 0;
  Coefficients<T> c;

  template <class V, class All>
  GRADPROOF_INLINE V step(V g, V&, V&, All all) const {
    return all(c.rate) * g;
  }
};
template <class T>
struct Momentum {
  static constexpr int slots = 1;
  Coefficients<T> c;

  template <class V, class All>
  GRADPROOF_INLINE V step(V g, V& v, V&, All all) const {
    return all(c.rate) * (v = moved(v, g, all(c.gain1)));
  }
};
template <class T>
struct RmsProp {
  static constexpr int slots = 1;
  Coefficients<T> c;

  template <class V, class All>
  GRADPROOF_INLINE V step(V g, V& s, V&, All all) const {
    s = capped(moved(s, g * g, all(c.gain2)));
    return ratio(all(c.rate) * g, s, all(c.root), all(c.epsilon));
  }
};
template <class T>
struct Adam {
  static constexpr int slots = 2;
  Coefficients<T> c;

  template <class V, class All>
  GRADPROOF_INLINE V step(V g, V& m, V& s, All all) const {
    m = moved(m, g, all(c.gain1));
    s = capped(moved(s, g * g, all(c.gain2)));
    return ratio(all(c.rate) * m, s, all(c.root), all(c.epsilon));
  }
};

// theta -= decay theta + step(gradient), rounded once.
template <class T, class Kind>
void descend(Kind kind, T* theta, T* slot0, T* slot1, const T* gradient, const Run& run) {
  const T decay = run.decays ? kind.c.decay : T(0), scale = kind.c.scale;
#if defined(GRADPROOF_ESTIMATES)
  if constexpr (sizeof(T) == 4) {
    const auto all = [](T value) { return _mm512_set1_ps(value); };
    const auto some = [&](Index i, __mmask16 in) {
      const auto load = [=](const T* from) { return _mm512_maskz_loadu_ps(in, from + i); };
      const auto store = [=](T* to, __m512 values) { _mm512_mask_storeu_ps(to + i, in, values); };
      __m512 first = all(0), second = all(0);
      if constexpr (Kind::slots > 0) first = load(slot0);
      if constexpr (Kind::slots > 1) second = load(slot1);
      const __m512 step = kind.step(all(scale) * load(gradient), first, second, all), before = load(theta);
      store(theta, before - madd(all(decay), before, step));
      if constexpr (Kind::slots > 0) store(slot0, first);
      if constexpr (Kind::slots > 1) store(slot1, second);
    };
    Index i = run.begin;
    for (; i + lanes <= run.end; i += lanes) some(i, 0xFFFF);
    if (i < run.end) some(i, __mmask16((1u << (run.end - i)) - 1));
    return;
  }
#endif
  const auto all = [](T value) { return value; };
#pragma omp simd
  for (Index i = run.begin; i < run.end; ++i) {
    T first = Kind::slots > 0 ? slot0[i] : T(0), second = Kind::slots > 1 ? slot1[i] : T(0);
    theta[i] -= madd(decay, theta[i], kind.step(scale * gradient[i], first, second, all));
    if constexpr (Kind::slots > 0) slot0[i] = first;
    if constexpr (Kind::slots > 1) slot1[i] = second;
  }
}

template <class T>
void update_run(Optimizer kind, const Coefficients<T>& c, T* theta, T* slot0, T* slot1, const T* gradient,
                const Run& run) {
  [[maybe_unused]] const SubnormalsAreZero scope;
  const auto with = [&](auto rule) { descend(rule, theta, slot0, slot1, gradient, run); };
  switch (kind) {
    case Optimizer::sgd:
      return with(Sgd<T>{c});
    case Optimizer::momentum:
      return with(Momentum<T>{c});
    case Optimizer::rmsprop:
      return with(RmsProp<T>{c});
    case Optimizer::adam:
      return with(Adam<T>{c});
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
