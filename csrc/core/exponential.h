// The exponential and SiLU from operations that IEEE 754 rounds correctly, so that all devices give the same
// bits.
#pragma once

#include <cstdint>

#include "core/portable.h"

namespace dimvida {

// Adding this to |value| < 2^22 rounds it to the nearest integer, ties to even, and leaves the integer in the
// low mantissa bits.
constexpr float kRoundToInteger = 12582912.0f;  // 1.5 * 2^23

// A number as fraction * power, the second a power of two.
struct Scaled {
  float fraction, power;
};

// exp(x) for x in [-87, 88], which is not checked: fraction in [0.7, 1.5], and fraction * power within 1 ulp.
DIMVIDA_HD Scaled scaled_exponential(float x) {
  // exp(x) = 2^k exp(r) with |r| <= ln(2) / 2; ln 2 in two parts, the product of k and the first being exact.
  constexpr float log2_e = 1.44269504088896341f;
  constexpr float ln2_high = 0.693359375f;
  constexpr float ln2_low = -2.12194440054690583e-4f;
  const float shifted = fused(x, log2_e, kRoundToInteger);
  const float k = shifted - kRoundToInteger;
  const float r = fused(k, -ln2_low, fused(k, -ln2_high, x));
  // exp(r) = 1 + r + r^2 p(r); relative error of the fit 5.2e-11.
  float p = 1.97903307073e-4f;
  p = fused(p, r, 1.39446706324e-3f);
  p = fused(p, r, 8.33349714137e-3f);
  p = fused(p, r, 4.16662948013e-2f);
  p = fused(p, r, 1.66666658685e-1f);
  p = fused(p, r, 5.00000006772e-1f);
  const float e = fused(p, r * r, r) + 1.0f;
  return {e, float_of((bits_of(shifted) << 23) + 0x3f800000u)};
}

// exp(x) for x in [-87, 88], the value at the bound outside; within 1 ulp. NaN stays NaN.
DIMVIDA_HD float exponential(float x) {
  x = x < -87.0f ? -87.0f : x;
  x = x > 88.0f ? 88.0f : x;
  const Scaled scaled = scaled_exponential(x);
  return scaled.fraction * scaled.power;
}

// x * sigmoid(x).
DIMVIDA_HD float silu(float x) { return x / (1.0f + exponential(-x)); }

}  // namespace dimvida
