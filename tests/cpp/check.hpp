// Plain assertions for the C++ tests: a failed one says where and goes on; main returns the number of failures.
#pragma once

#include <cmath>
#include <cstdio>

inline int failures = 0;

#define CHECK(condition)                                                          \
  do {                                                                            \
    if (!(condition)) {                                                           \
      std::printf("%s:%d: failed: %s\n", __FILE__, __LINE__, #condition);         \
      ++failures;                                                                 \
    }                                                                             \
  } while (false)

// |actual - expected| <= tolerance max(1, |expected|)
inline void check_close(long double actual, long double expected, long double tolerance, const char* what) {
  if (!(std::fabs(actual - expected) <= tolerance * std::fmax(1.0L, std::fabs(expected)))) {
    std::printf("%s: got %.17Lg, expected %.17Lg\n", what, actual, expected);
    ++failures;
  }
}
