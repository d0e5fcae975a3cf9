// Standard normal numbers from random words: Box-Muller on polynomials of our own.
//
// Library log, sin and cos differ between CPUs and GPUs. Here every operation is one that IEEE 754 rounds
// correctly (+, *, sqrt, fused multiply-add, integer conversion), so all devices give the same bits. The
// polynomials are minimax fits; the normals are within 4 ulp of the exact transform of the same words.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/bits.h"
#include "core/fused.h"
#include "core/macros.h"
#include "core/philox.h"

namespace dimvida {

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

}  // namespace dimvida
