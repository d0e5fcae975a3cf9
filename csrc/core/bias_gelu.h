// A product's bias and GELU, where the library's product takes no activation.
//
//   x = gelu(x + bias),   gelu(x) = x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))
//
// the approximation of Hendrycks and Gimpel, "Gaussian error linear units", 2016, eq. 2. Rounded alike on all
// devices.
#pragma once

#include <cstdint>

#include "core/exponential.h"
#include "core/params.h"
#include "core/portable.h"

namespace dimvida {

// clang-format off
#define DIMVIDA_BIAS_GELU_PARAMS(FIELD)                                                                      \
  FIELD(WRITTEN, void, x, run(rows * width, x_dtype))     /* [rows, width] */                                \
  FIELD(READ, float, bias, run(width))               /* [width] */                                           \
  FIELD(NUMBER, int64_t, rows)                       /* may be 0 */                                          \
  FIELD(NUMBER, int64_t, width)                                                                              \
  FIELD(NUMBER, DType, x_dtype)                      /* floating */
// clang-format on

DIMVIDA_KERNEL(bias_gelu, BiasGeluParams, DIMVIDA_BIAS_GELU_PARAMS);

// x / (1 + 2^y) for y = -2 u / ln 2, since (1 + tanh(u)) / 2 = 1 / (1 + exp(-2 u)).
DIMVIDA_HD float gelu(float x) {
  constexpr float linear = -2.302208198144325f;  // -2 sqrt(2 / pi) / ln 2
  constexpr float cubic = -0.1029432395800235f;  // 0.044715 of it
  // y is bounded as an integer, which takes a vector fewer operations than as a number: positive numbers are
  // in order as signed integers, negative ones as unsigned. Above, 2^y becomes infinite and the quotient 0.
  // NaN, which is lost here, is in x still.
  constexpr int32_t above = 0x43000000;    // 128
  constexpr uint32_t below = 0xc2fc0000u;  // -126
  const int32_t unbounded = static_cast<int32_t>(bits_of(x * fused(cubic, x * x, linear)));
  const uint32_t half_bounded = static_cast<uint32_t>(unbounded < above ? unbounded : above);
  const float y = float_of(half_bounded < below ? half_bounded : below);
  // 2^y = 2^k 2^r with |r| <= 1/2; relative error of the fit 9.1e-8.
  const float shifted = y + kRoundToInteger;
  const float r = y - (shifted - kRoundToInteger);
  float fraction = 1.326472731307149e-3f;
  fraction = fused(fraction, r, 9.671512991189957e-3f);
  fraction = fused(fraction, r, 5.550733581185341e-2f);
  fraction = fused(fraction, r, 2.4022242426872253e-1f);
  fraction = fused(fraction, r, 6.931470036506653e-1f);
  fraction = fused(fraction, r, 1.0f);
  const float power = float_of((bits_of(shifted) << 23) + 0x3f800000u);
  return x / fused(fraction, power, 1.0f);
}

}  // namespace dimvida
