// Philox4x32-10: random numbers as a function of a key and a counter (Salmon, Moraes, Dror and Shaw, "Parallel random
// numbers: as easy as 1, 2, 3", SC 2011). No state: any part of any sequence can be made again, in any order, on any thread.
#pragma once

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

}  // namespace gradproof
