// exp, expm1, log, log1p, tanh and sigmoid, without branches or tables, so that compilers vectorize loops over them on
// every instruction set. Eigen 3.4 has no vectorized tanh for double, and libm's functions stop a loop from vectorizing.
//
// Accurate to about 1.5 ulp (2.5 for tanh and sigmoid) over the whole range: subnormal numbers, overflow to infinity,
// NaN, the sign of zero. float is computed in float. The polynomials are near-minimax (interpolation at Chebyshev nodes), with errors
// below a quarter of an ulp.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "types.hpp"

#if defined(_MSC_VER) && !defined(__clang__)
#define GRADPROOF_INLINE __forceinline
#else
#define GRADPROOF_INLINE inline __attribute__((always_inline))
#endif

namespace gradproof::math {

// a b + c: with one rounding where the instruction set has it, with two elsewhere.
template <class T>
GRADPROOF_INLINE T madd(T a, T b, T c) {
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
  return std::fma(a, b, c);
#else
  return a * b + c;
#endif
}

template <class To, class From>
GRADPROOF_INLINE To bit_cast(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}

// c[0] + c[1] x + c[2] x^2 + ..., by Horner's rule.
template <class T>
GRADPROOF_INLINE T polynomial(T, T c) {
  return c;
}
template <class T, class... Rest>
GRADPROOF_INLINE T polynomial(T x, T c, Rest... rest) {
  return madd(x, polynomial(x, rest...), c);
}

template <class T>
struct Constants;

template <>
struct Constants<double> {
  using Bits = std::uint64_t;
  static constexpr int mantissa_bits = 52;
  static constexpr Bits bias = 1023;
  static constexpr Bits sqrt_half_bits = 0x3fe6a09e667f3bcd;
  // ln 2 in two parts; the first has few enough bits for n ln2_high to be exact for every exponent n.
  static constexpr double ln2_high = 0x1.62e42feep-1, ln2_low = 1.9082149292705877e-10;
  // exp is 0 below and infinite above; expm1 is -1 below; tanh is 1 above.
  static constexpr double exp_low = -746, exp_high = 710, expm1_low = -40, tanh_high = 20;

  // (e^r - 1 - r) / r^2 for |r| <= ln 2 / 2
  GRADPROOF_INLINE static double exp_fit(double r) {
    return polynomial(r, 0.5, 0.1666666666666667, 0.04166666666666667, 0.008333333333326136, 0.0013888888888883748,
                      0.00019841269874820627, 2.4801587325547743e-05, 2.7557255400206422e-06, 2.75572736431103e-07,
                      2.5105217004720745e-08, 2.0914686968086876e-09);
  }
  // (2 artanh(s) - 2 s) / s^3 as a function of z = s^2, for |s| <= (sqrt 2 - 1) / (sqrt 2 + 1)
  GRADPROOF_INLINE static double log_fit(double z) {
    return polynomial(z, 0.666666666666667, 0.39999999999899444, 0.2857142862600327, 0.22222211130259878,
                      0.18182889455674947, 0.15331710618210773, 0.14616585424888623);
  }
};

template <>
struct Constants<float> {
  using Bits = std::uint32_t;
  static constexpr int mantissa_bits = 23;
  static constexpr Bits bias = 127;
  static constexpr Bits sqrt_half_bits = 0x3f3504f3;
  static constexpr float ln2_high = 0x1.62e4p-1f, ln2_low = 1.4286068203094173e-6f;
  static constexpr float exp_low = -104, exp_high = 89, expm1_low = -20, tanh_high = 10;

  GRADPROOF_INLINE static float exp_fit(float r) {
    return polynomial(r, 0.5f, 0.166666672f, 0.0416664667f, 0.00833331048f, 0.00139336498f, 0.000198909911f);
  }
  GRADPROOF_INLINE static float log_fit(float z) {
    return polynomial(z, 0.666666687f, 0.400001228f, 0.285508156f, 0.233305827f);
  }
};

// Adding and subtracting 1.5 * 2^mantissa_bits rounds to the nearest integer, and leaves it in the low bits of the sum.
template <class T>
constexpr T rounder = T(3) * T(typename Constants<T>::Bits(1) << (Constants<T>::mantissa_bits - 1));

template <class T>
GRADPROOF_INLINE T round(T x) {
  return (x + rounder<T>) - rounder<T>;
}

// 2^n for an integer n in the range of normal exponents.
template <class T>
GRADPROOF_INLINE T power_of_two(T n) {
  using C = Constants<T>;
  return bit_cast<T>((bit_cast<typename C::Bits>(n + rounder<T>) + C::bias) << C::mantissa_bits);
}

template <class T>
GRADPROOF_INLINE T clamp(T x, T low, T high) {  // NaN stays NaN
  x = x < low ? low : x;
  return x > high ? high : x;
}

// x = n ln 2 + r with an integer n and |r| <= ln 2 / 2 (Cody and Waite); e = e^r - 1.
template <class T>
struct Reduced {
  T n, e;
};
template <class T>
GRADPROOF_INLINE Reduced<T> reduce(T x) {
  using C = Constants<T>;
  const T n = round(x * T(1.4426950408889634));
  const T r = madd(-n, C::ln2_low, madd(-n, C::ln2_high, x));
  return {n, madd(r * r, C::exp_fit(r), r)};
}

// e^x = 2^n (1 + e), scaled in two steps because 2^n alone may overflow or be subnormal.
template <class T>
GRADPROOF_INLINE T exp(T x) {
  using C = Constants<T>;
  const auto [n, e] = reduce(clamp(x, C::exp_low, C::exp_high));
  const T half = round(n * T(0.5));
  return ((1 + e) * power_of_two(half)) * power_of_two(n - half);
}

// e^x - 1 = 2^n e + (2^n - 1), through 2^(n-1) because 2^n may overflow. Loses the sign of zero and the last bit of
// subnormal numbers.
template <class T>
GRADPROOF_INLINE T expm1_of_normal(T x) {
  using C = Constants<T>;
  const auto [n, e] = reduce(clamp(x, C::expm1_low, C::exp_high));
  const T scale = power_of_two(n - 1);
  return 2 * madd(scale, e, scale - T(0.5));
}

// Below this, x is the correctly rounded value of e^x - 1 and log(1 + x).
template <class T>
constexpr T tiny = std::numeric_limits<T>::epsilon() / 4;

template <class T>
GRADPROOF_INLINE T expm1(T x) {
  return std::abs(x) < tiny<T> ? x : expm1_of_normal(x);
}

// tanh x = E / (E + 2) = 1 - 2 / (E + 2), E = e^(2x) - 1: the first is accurate near 0, the second beyond.
template <class T>
GRADPROOF_INLINE T tanh(T x) {
  const T a = clamp(std::abs(x), T(0), Constants<T>::tanh_high);
  const T E = expm1_of_normal(2 * a);
  const bool large = a > T(0.5);
  const T quotient = (large ? T(-2) : E) / (E + 2);
  return std::copysign(large ? 1 + quotient : quotient, x);
}

// 1 / (1 + e^-x), with the exponential of a negative number: it cannot overflow, and keeps small results accurate.
template <class T>
GRADPROOF_INLINE T sigmoid(T x) {
  const T e = exp(-std::abs(x));
  return (x < 0 ? e : T(1)) / (1 + e);
}

// x = 2^k m with m in [1/sqrt 2, sqrt 2), for positive normal x: with the bits of x shifted so that m = 1/sqrt 2 is where
// the exponent changes.
template <class T>
struct Split {
  T k, m;
};
template <class T>
GRADPROOF_INLINE Split<T> split(T x) {
  using C = Constants<T>;
  using Bits = typename C::Bits;
  constexpr Bits one = C::bias << C::mantissa_bits, mantissa = (Bits(1) << C::mantissa_bits) - 1;
  constexpr T shift = T(Bits(1) << C::mantissa_bits);  // a number with k in its low bits
  const Bits bits = bit_cast<Bits>(x) + (one - C::sqrt_half_bits);
  const T k = bit_cast<T>((bits >> C::mantissa_bits) | bit_cast<Bits>(shift)) - (shift + T(C::bias));
  return {k, bit_cast<T>((bits & mantissa) + C::sqrt_half_bits)};
}

// k ln 2 + log(1 + f) + c for a small correction c: with s = f / (2 + f), log(1 + f) = 2 artanh(s)
//   = f - (f^2/2 - s (f^2/2 + s^2 log_fit(s^2))), the form of fdlibm, in which f enters without rounding.
template <class T>
GRADPROOF_INLINE T log_sum(T k, T f, T c) {
  using C = Constants<T>;
  const T s = f / (2 + f), z = s * s, half_square = T(0.5) * f * f;
  const T rest = madd(s, madd(z, C::log_fit(z), half_square), madd(k, C::ln2_low, c));
  return k * C::ln2_high - ((half_square - rest) - f);
}

// Sets the values at the edges of the domain of the logarithm of u: u = 0, u < 0 or NaN, u = infinity.
template <class T>
GRADPROOF_INLINE T log_edges(T u, T result) {
  constexpr T infinity = std::numeric_limits<T>::infinity();
  result = u > 0 ? result : (u == 0 ? -infinity : std::numeric_limits<T>::quiet_NaN());
  return u == infinity ? infinity : result;
}

template <class T>
GRADPROOF_INLINE T log(T x) {
  constexpr int digits = std::numeric_limits<T>::digits;
  constexpr T scale = T(typename Constants<T>::Bits(1) << digits);
  const bool subnormal = x < std::numeric_limits<T>::min();
  const auto [k, m] = split(subnormal ? x * scale : x);
  return log_edges(x, log_sum(subnormal ? k - digits : k, m - 1, T(0)));
}

// log(1 + x): the rounding error of u = 1 + x comes back as log(u + c) = log(u) + c/u; near 1, f = x itself.
template <class T>
GRADPROOF_INLINE T log1p(T x) {
  const T u = 1 + x;
  const T c = x > 1 ? 1 - (u - x) : x - (u - 1);
  const auto [k, m] = split(u);
  const bool near = k == 0;
  const T result = log_edges(u, log_sum(k, near ? x : m - 1, near ? T(0) : c / u));
  return std::abs(x) < tiny<T> ? x : result;
}

// y[i] = f(x[i]); y may be x. The pragma says that nothing else overlaps.
template <class T, class F>
GRADPROOF_INLINE void map(T* y, const T* x, Index size, F f) {
#pragma omp simd
  for (Index i = 0; i < size; ++i) y[i] = f(x[i]);
}

}  // namespace gradproof::math
