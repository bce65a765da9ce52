// Philox4x32-10: random numbers as a function of a key and a counter (Salmon, Moraes, Dror and Shaw, "Parallel random
// numbers: as easy as 1, 2, 3", SC 2011). No state: any part of any sequence can be made again, in any order, on any thread.
#pragma once

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#include "math.hpp"

namespace gradproof {

struct PhiloxCounter {
  std::uint32_t x0, x1, x2, x3;
};

template <int rounds = 10>
GRADPROOF_INLINE PhiloxCounter philox(PhiloxCounter x, std::uint32_t key0, std::uint32_t key1) {
  if constexpr (rounds == 0) {
    return x;
  } else {
    const std::uint64_t p0 = std::uint64_t(0xD2511F53) * x.x0, p1 = std::uint64_t(0xCD9E8D57) * x.x2;
    return philox<rounds - 1>({std::uint32_t(p1 >> 32) ^ x.x1 ^ key0, std::uint32_t(p1),
                               std::uint32_t(p0 >> 32) ^ x.x3 ^ key1, std::uint32_t(p0)},
                              key0 + 0x9E3779B9, key1 + 0xBB67AE85);
  }
}

// Numbers are made in groups of 16 consecutive blocks of 4: number 16 w + l of a group is word w of block l, so that the
// words of one kind are consecutive, for every vector length up to 16.
constexpr int philox_lanes = 16;
constexpr int philox_group_size = 4 * philox_lanes;

// Group `group` of the sequence (seed, stream, step). A sequence has 2^34 numbers.
#if defined(__AVX512F__)
// The same with every number in the low half of 64 bits, which is where the factors of vpmuludq stand: compilers do not see
// that the high halves never matter. 0.4 ns instead of 1 ns per number. (Masks of ones, because GCC 12 warns of its own
// definitions of the functions without.)
inline void philox_group(std::uint32_t* out, std::uint64_t seed, std::uint32_t stream, std::uint64_t step,
                         std::uint32_t group) {
  const auto all = [](std::uint64_t value) { return _mm512_set1_epi64(std::int64_t(value)); };
  const __m512i factor0 = all(0xD2511F53), factor1 = all(0xCD9E8D57);
  std::uint32_t key0 = std::uint32_t(seed), key1 = std::uint32_t(seed >> 32);
  __m512i x0[2], x1[2], x2[2], x3[2];
  for (int half = 0; half < 2; ++half) {
    const auto first = std::int64_t(group * philox_lanes + std::uint32_t(8 * half));
    x0[half] = _mm512_add_epi64(all(std::uint64_t(first)), _mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0));
    x1[half] = all(stream);
    x2[half] = all(step & 0xFFFFFFFF);
    x3[half] = all(step >> 32);
  }
#pragma GCC unroll 10
  for (int round = 0; round < 10; ++round) {
    for (int half = 0; half < 2; ++half) {
      const __m512i p0 = _mm512_maskz_mul_epu32(0xFF, x0[half], factor0), p1 = _mm512_maskz_mul_epu32(0xFF, x2[half], factor1);
      constexpr int exclusive_or = 0x96;
      x0[half] = _mm512_ternarylogic_epi64(_mm512_maskz_srli_epi64(0xFF, p1, 32), x1[half], all(key0), exclusive_or);
      x2[half] = _mm512_ternarylogic_epi64(_mm512_maskz_srli_epi64(0xFF, p0, 32), x3[half], all(key1), exclusive_or);
      x1[half] = p1;
      x3[half] = p0;
    }
    key0 += 0x9E3779B9;
    key1 += 0xBB67AE85;
  }
  const __m512i* words[] = {x0, x1, x2, x3};
  for (int word = 0; word < 4; ++word) {
    for (int half = 0; half < 2; ++half) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + word * philox_lanes + 8 * half),
                          _mm512_maskz_cvtepi64_epi32(0xFF, words[word][half]));
    }
  }
}
#else
inline void philox_group(std::uint32_t* out, std::uint64_t seed, std::uint32_t stream, std::uint64_t step,
                         std::uint32_t group) {
#pragma omp simd
  for (int lane = 0; lane < philox_lanes; ++lane) {
    const PhiloxCounter x =
        philox({group * philox_lanes + lane, stream, std::uint32_t(step), std::uint32_t(step >> 32)},
               std::uint32_t(seed), std::uint32_t(seed >> 32));
    out[lane] = x.x0;
    out[philox_lanes + lane] = x.x1;
    out[2 * philox_lanes + lane] = x.x2;
    out[3 * philox_lanes + lane] = x.x3;
  }
}
#endif

}  // namespace gradproof
