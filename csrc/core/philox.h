// Philox4x32-10, a counter-based random generator: the same counter and key give the same words anywhere.
//
// Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011. Known answers of the
// authors' Random123 library are part of the tests.
#pragma once

#include <cstdint>

#include "core/macros.h"

namespace dimvida {

struct Words4 {
  uint32_t w0, w1, w2, w3;
};

struct PhiloxKey {
  uint32_t k0, k1;
};

constexpr int kPhiloxRounds = 10;
constexpr uint32_t kPhiloxMultiplier0 = 0xD2511F53u;
constexpr uint32_t kPhiloxMultiplier1 = 0xCD9E8D57u;
constexpr uint32_t kPhiloxWeyl0 = 0x9E3779B9u;  // golden ratio
constexpr uint32_t kPhiloxWeyl1 = 0xBB67AE85u;  // sqrt(3) - 1

DIMVIDA_HD Words4 philox4x32(Words4 counter, PhiloxKey key) {
  uint32_t c0 = counter.w0, c1 = counter.w1, c2 = counter.w2, c3 = counter.w3;
  uint32_t k0 = key.k0, k1 = key.k1;
#if defined(__CUDA_ARCH__)
#pragma unroll
#endif
  for (int round = 0; round < kPhiloxRounds; ++round) {
    const uint64_t product0 = static_cast<uint64_t>(kPhiloxMultiplier0) * c0;
    const uint64_t product1 = static_cast<uint64_t>(kPhiloxMultiplier1) * c2;
    c0 = static_cast<uint32_t>(product1 >> 32) ^ c1 ^ k0;
    c1 = static_cast<uint32_t>(product1);
    c2 = static_cast<uint32_t>(product0 >> 32) ^ c3 ^ k1;
    c3 = static_cast<uint32_t>(product0);
    k0 += kPhiloxWeyl0;
    k1 += kPhiloxWeyl1;
  }
  return {c0, c1, c2, c3};
}

// The key of a seed.
DIMVIDA_HD PhiloxKey philox_key(int64_t seed) {
  const uint64_t bits = static_cast<uint64_t>(seed);
  return {static_cast<uint32_t>(bits), static_cast<uint32_t>(bits >> 32)};
}

// The counter of elements 4 * quad .. 4 * quad + 3 of one sample's noise. The batch has no part in it, which
// is what makes noise independent of batch size, order and place. `draw` numbers the noise tensors of a
// trajectory.
DIMVIDA_HD Words4 noise_counter(uint32_t quad, uint32_t draw, int64_t sample_id) {
  const uint64_t id = static_cast<uint64_t>(sample_id);
  return {quad, draw, static_cast<uint32_t>(id), static_cast<uint32_t>(id >> 32)};
}

}  // namespace dimvida
