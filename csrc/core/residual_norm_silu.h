// A sum of what a convolution made, its bias and a residual, then group norm and SiLU.
//
//   total = spread(made + bias) + spread(residual)       see core/summands.h
//   out   = silu((total - mean) / sqrt(var + eps) * norm_weight + norm_bias)
//
// Mean and variance are those of all places of an image in each of `groups` groups of channels (Wu and He,
// "Group normalization", 2018), taken in float32 in two passes, of the sum before it is rounded to its type.
// The order of sums differs between devices; all else is rounded alike. There is no overlap.
#pragma once

#include "core/group_norm_silu.h"
#include "core/summands.h"

namespace dimvida {

// clang-format off
#define DIMVIDA_RESIDUAL_NORM_SILU_PARAMS(FIELD)                                                             \
  DIMVIDA_SUMMANDS(FIELD)                                                                                    \
  FIELD(READ, float, norm_weight, run(channels))     /* [channels] scale of the normalised values */         \
  FIELD(READ, float, norm_bias, run(channels))       /* [channels] their offset */                           \
  FIELD(NUMBER, int64_t, groups)                     /* of channels that are normalised together */  \
  FIELD(NUMBER, float, eps)                          /* added to the variance */
// clang-format on

DIMVIDA_KERNEL(residual_norm_silu, ResidualNormSiluParams, DIMVIDA_RESIDUAL_NORM_SILU_PARAMS);

}  // namespace dimvida
