// A sum of what a convolution made, its bias and a residual, and the activation after it.
//
//   total = spread(made + bias) + spread(residual)       see core/summands.h
//   out   = total where total > 0, slope * total elsewhere; or total * sigmoid(total)
#pragma once

#include <cmath>

#include "core/exponential.h"
#include "core/summands.h"

namespace dimvida {

// clang-format off
#define DIMVIDA_RESIDUAL_ACT_PARAMS(FIELD)                                                                   \
  DIMVIDA_SUMMANDS(FIELD)                                                                                    \
  FIELD(NUMBER, float, slope)                        /* below 0: of a leaky ReLU, 1 for none, NaN for SiLU */
// clang-format on

DIMVIDA_KERNEL(residual_act, ResidualActParams, DIMVIDA_RESIDUAL_ACT_PARAMS);

DIMVIDA_HD bool is_silu(const ResidualActParams& p) { return !(p.slope == p.slope); }

DIMVIDA_HD float leaky(float v, float slope) { return v > 0.0f ? v : slope * v; }

}  // namespace dimvida
