// Noise that belongs to a sample: random words from a counter, and standard normals from words.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/params.h"
#include "core/portable.h"

namespace dimvida {

// Philox4x32-10, a counter-based random generator: the same counter and key give the same words anywhere.
//
// Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011. Known answers of the
// authors' Random123 library are part of the tests.

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

DIMVIDA_HD Words4 philox_words(Words4 counter, PhiloxKey key) {
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

// Standard normal numbers from random words: Box-Muller on polynomials of our own.
//
// Library log, sin and cos differ between CPUs and GPUs. Here every operation is one that IEEE 754 rounds
// correctly (+, *, sqrt, fused multiply-add, integer conversion), so all devices give the same bits. The
// polynomials are minimax fits; the normals are within 4 ulp of the exact transform of the same words.

// A word as a number in [2^-33, 1]: the middle of its 2^-32 wide cell, rounded to float32. Never 0.
DIMVIDA_HD float unit_uniform(uint32_t word) {
  constexpr float cell = 2.3283064365386963e-10f;  // 2^-32
  return fused(static_cast<float>(word), cell, 0.5f * cell);
}

// ln(u) for a normal float32 u > 0; exactly 0 at 1, negative below.
DIMVIDA_HD float natural_log(float u) {
  // u = 2^exponent * (1 + f) with 1 + f in [sqrt(1/2), sqrt(2)).
  constexpr uint32_t sqrt_half = 0x3f3504f3u;
  const uint32_t shifted = bits_of(u) - sqrt_half;
  const float exponent = static_cast<float>(static_cast<int32_t>(shifted) >> 23);
  const float f = float_of((shifted & 0x007fffffu) + sqrt_half) - 1.0f;
  // ln(1 + f) = f - f^2 / 2 + f^3 p(f); relative error of the fit 5.9e-9.
  float p = -0.0763450290961f;
  p = fused(p, f, 0.12761577348f);
  p = fused(p, f, -0.131601804663f);
  p = fused(p, f, 0.142017579983f);
  p = fused(p, f, -0.16623357535f);
  p = fused(p, f, 0.200012268731f);
  p = fused(p, f, -0.250008210285f);
  p = fused(p, f, 0.333333317078f);
  const float square = f * f;
  const float tail = fused(square * f, p, -0.5f * square);
  // ln 2 in two parts, the first with enough trailing zeros for its product with the exponent to be exact.
  constexpr float ln2_high = 0.693359375f;
  constexpr float ln2_low = -2.12194440054690583e-4f;
  return fused(exponent, ln2_high, f + fused(exponent, ln2_low, tail));
}

struct Direction {
  float cosine, sine;
};

// Cosine and sine of 2 pi word / 2^32. The quadrant is found in integers, so nothing is lost near the axes.
DIMVIDA_HD Direction direction(uint32_t word) {
  const uint32_t quadrant = (word + 0x20000000u) >> 30;  // nearest quarter turn, modulo 4
  const int32_t offset = static_cast<int32_t>(word - (quadrant << 30));
  constexpr float radians = 1.4629180792671596e-9f;          // 2 pi / 2^32
  const float angle = static_cast<float>(offset) * radians;  // in [-pi/4, pi/4]
  const float square = angle * angle;
  float s = -0.00019517266841f;  // sin(x) = x + x^3 s(x^2); relative error of the fit 3.6e-9
  s = fused(s, square, 0.00833217791636f);
  s = fused(s, square, -0.166666549402f);
  const float sine = fused(square * angle, s, angle);
  float c = 2.44331198728e-5f;  // cos(x) = 1 - x^2 / 2 + x^4 c(x^2); relative error of the fit 1.2e-10
  c = fused(c, square, -0.00138873159354f);
  c = fused(c, square, 0.0416666456766f);
  const float cosine = fused(square * square, c, fused(-0.5f, square, 1.0f));
  const bool swapped = (quadrant & 1u) != 0;
  const uint32_t cosine_sign = ((quadrant + 1u) & 2u) << 30;  // negative in quadrants 1 and 2
  const uint32_t sine_sign = (quadrant & 2u) << 30;           // negative in quadrants 2 and 3
  const float along = swapped ? sine : cosine;
  const float across = swapped ? cosine : sine;
  return {float_of(bits_of(along) ^ cosine_sign), float_of(bits_of(across) ^ sine_sign)};
}

struct Normals4 {
  float z0, z1, z2, z3;
};

// Box and Muller, "A note on the generation of random normal deviates", 1958: words (0, 1) and (2, 3) give a
// radius and a direction each, and these the normals 0, 1 and 2, 3.
DIMVIDA_HD Normals4 normals_of(Words4 words) {
  const float radius0 = sqrtf(-2.0f * natural_log(unit_uniform(words.w0)));
  const float radius1 = sqrtf(-2.0f * natural_log(unit_uniform(words.w2)));
  const Direction direction0 = direction(words.w1);
  const Direction direction1 = direction(words.w3);
  return {radius0 * direction0.cosine, radius0 * direction0.sine, radius1 * direction1.cosine,
          radius1 * direction1.sine};
}

// clang-format off
#define DIMVIDA_PHILOX_NORMAL_PARAMS(FIELD)                                                                  \
  FIELD(WRITTEN, float, z, run(batch * count))       /* [batch, count] filled with standard normals */       \
  FIELD(READ, int64_t, sample_ids, run(batch))       /* [batch] the upper half of the noise counter */       \
  FIELD(READ, int64_t, seed, run(1))                 /* [1] key of the noise */                              \
  FIELD(NUMBER, int64_t, batch)                      /* number of samples, may be 0 */                       \
  FIELD(NUMBER, int64_t, count)                      /* normals of a sample, <= 2^34 */                      \
  FIELD(NUMBER, uint32_t, draw)                      /* number of this noise tensor within the trajectory */

#define DIMVIDA_PHILOX4X32_PARAMS(FIELD)                                                                     \
  FIELD(WRITTEN, int64_t, words, run(4 * count))     /* [count, 4] each in [0, 2^32) */                      \
  FIELD(READ, int64_t, counters, run(4 * count))     /* [count, 4] the low 32 bits of each */                \
  FIELD(READ, int64_t, key, run(2))                  /* [2] key words, the low 32 bits of each */            \
  FIELD(NUMBER, int64_t, count)                      /* number of counters, may be 0 */
// clang-format on

DIMVIDA_KERNEL(philox_normal, PhiloxNormalParams, DIMVIDA_PHILOX_NORMAL_PARAMS);
DIMVIDA_KERNEL(philox4x32, Philox4x32Params, DIMVIDA_PHILOX4X32_PARAMS);

// Writes the words of counter i.
DIMVIDA_HD void write_words(const Philox4x32Params& p, int64_t i) {
  const PhiloxKey key = {static_cast<uint32_t>(p.key[0]), static_cast<uint32_t>(p.key[1])};
  const int64_t* counter = p.counters + 4 * i;
  const Words4 words = philox_words({static_cast<uint32_t>(counter[0]), static_cast<uint32_t>(counter[1]),
                                     static_cast<uint32_t>(counter[2]), static_cast<uint32_t>(counter[3])},
                                    key);
  int64_t* result = p.words + 4 * i;
  result[0] = words.w0, result[1] = words.w1, result[2] = words.w2, result[3] = words.w3;
}

}  // namespace dimvida
