// Which instruction sets this processor can run, best last.
//
// x86-64: "v1" is the baseline that every such processor has, "v3" AVX2 with FMA, "v4" AVX-512 (the levels of the
// x86-64 psABI). The features asked for are the ones that distinguish the levels on processors that exist.
#pragma once

#include <string>
#include <vector>

#if defined(_MSC_VER) && !defined(__clang__) && defined(_M_X64)
#include <immintrin.h>
#include <intrin.h>
#endif

namespace gradproof {

inline std::vector<std::string> supported_isas() {
#if defined(__aarch64__) || defined(_M_ARM64)
  return {"neon"};
#elif defined(_MSC_VER) && !defined(__clang__)
  int leaf1[4], leaf7[4];
  __cpuid(leaf1, 1);
  __cpuidex(leaf7, 7, 0);
  const auto bit = [](int word, int i) { return ((word >> i) & 1) != 0; };
  // The operating system must save the wide registers too: XCR0 bits 1-2 for ymm, 5-7 for zmm.
  const unsigned long long saved = bit(leaf1[2], 27) ? _xgetbv(0) : 0;
  const bool v3 = (saved & 0x06) == 0x06 && bit(leaf1[2], 12) && bit(leaf7[1], 5) && bit(leaf7[1], 3) && bit(leaf7[1], 8);
  const bool v4 = v3 && (saved & 0xe6) == 0xe6 && bit(leaf7[1], 16) && bit(leaf7[1], 17) && bit(leaf7[1], 28) &&
                  bit(leaf7[1], 30) && bit(leaf7[1], 31);
#else
  const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
                  __builtin_cpu_supports("bmi2");
  const bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                  __builtin_cpu_supports("avx512vl");
#endif
#if !(defined(__aarch64__) || defined(_M_ARM64))
  std::vector<std::string> isas{"v1"};
  if (v3) isas.push_back("v3");
  if (v4) isas.push_back("v4");
  return isas;
#endif
}

}  // namespace gradproof
