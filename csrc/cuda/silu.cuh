// SiLU with the bits of core/exponential.h in a third of the instructions.
#pragma once

#include "core/exponential.h"

namespace dimvida::cuda {

// 1 / y within an ulp, for normal y with a normal reciprocal.
DIMVIDA_HD float rough_reciprocal(float y) {
#if defined(__CUDA_ARCH__)
  float reciprocal;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(reciprocal) : "f"(y));
  return reciprocal;
#else
  return 1.0f / y;
#endif
}

// x / y rounded correctly, from a rough reciprocal of y: a Newton step for the reciprocal, one for the
// quotient. The remainder is taken with the sign that keeps that of x = -0.
DIMVIDA_HD float refined_quotient(float x, float y, float reciprocal) {
  const float error = fused(-y, reciprocal, 1.0f);
  const float inverse = fused(reciprocal, error, reciprocal);
  const float quotient = x * inverse;
  const float excess = fused(y, quotient, -x);
  return fused(-excess, inverse, quotient);
}

// The quotient of silu(x) where |x| < kPlainSilu: there nothing over- or underflows and the exponential needs
// no clamps. For all 2 * 1118699520 such x it was compared with the division: no bit differs from a
// reciprocal that is correctly rounded, and from one that is an ulp off only that of x = 2^-23, for which the
// compiler's own division, which has these steps too, relies on the same reciprocal.
constexpr float kPlainSilu = 87.0f;

// 1 + exp(-x).
DIMVIDA_HD float plain_silu_divisor(float x) {
  const Scaled scaled = scaled_exponential(-x);
  return fused(scaled.fraction, scaled.power, 1.0f);  // the product is exact
}

DIMVIDA_HD float plain_silu(float x) {
  const float y = plain_silu_divisor(x);
  return refined_quotient(x, y, rough_reciprocal(y));
}

// values <- silu(values)
template <int kCount>
__device__ __forceinline__ void silu_all(float (&values)[kCount]) {
  bool plain = true;
#pragma unroll
  for (int i = 0; i < kCount; ++i) plain = plain && fabsf(values[i]) < kPlainSilu;  // false of NaN
  if (plain) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) values[i] = plain_silu(values[i]);
  } else {
#pragma unroll
    for (int i = 0; i < kCount; ++i) values[i] = silu(values[i]);
  }
}

}  // namespace dimvida::cuda
