// A gated residual sum and the modulated layer norm that follows it, as in the view transformer's blocks.
//
//   x   = x + gate * (h + bias)
//   out = (x - mean(x)) / sqrt(var(x) + eps) * scale + shift
//
// Mean and variance are those of each token (Ba, Kiros and Hinton, "Layer normalization", 2016), taken in
// float32 in two passes. Gate, shift and scale depend on the time of the token's view alone (Peebles and Xie,
// "Scalable diffusion models with transformers", 2023), of which an evaluation has two: row 0 of the table is
// for known views, whose time is 0, row 1 + step for missing ones. The order of sums differs between devices;
// all else is rounded alike.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/params.h"
#include "core/portable.h"

namespace dimvida {

// clang-format off
#define DIMVIDA_MODULATED_NORM_PARAMS(FIELD)                                                                 \
  FIELD(WRITTEN, float, x, run(groups * tokens * width))  /* [groups, tokens, width] residual stream */      \
  /* [groups, tokens, width] what the next product reads */                                                  \
  FIELD(WRITTEN, void, out, run(groups * tokens * width, out_dtype))                                         \
  /* [groups, tokens, width] what the product before gave, in the type of out */                             \
  FIELD(READ, void, h, run(groups * tokens * width, out_dtype))                                              \
  FIELD(READ, float, bias, run(width))               /* [width] that product's bias, or null */              \
  /* [table_rows, 3, width]: gate, shift and scale; gaps between rows count as theirs */                     \
  FIELD(READ, float, table, run((table_rows - 1) * table_stride + 3 * width))                                \
  FIELD(READ, uint8_t, known, run(groups))           /* [groups] nonzero where the view is known, or null */ \
  FIELD(READ, void, step, run(1, step_dtype))        /* [1] the evaluation, or null for 0 */                 \
  FIELD(NUMBER, int64_t, table_stride)               /* elements from one row of the table to the next */    \
  FIELD(NUMBER, int64_t, table_rows)                                                                         \
  FIELD(NUMBER, int64_t, groups)                     /* views of all objects, may be 0 */                    \
  FIELD(NUMBER, int64_t, tokens)                     /* tokens of a view */                                  \
  FIELD(NUMBER, int64_t, width)                      /* numbers of a token */                                \
  FIELD(NUMBER, float, eps)                          /* added to the variance */                             \
  FIELD(NUMBER, DType, out_dtype)                    /* floating */                                          \
  FIELD(NUMBER, DType, step_dtype)                   /* kInt32 or kInt64 */
// clang-format on

DIMVIDA_KERNEL(modulated_norm, ModulatedNormParams, DIMVIDA_MODULATED_NORM_PARAMS);

// The row of the table that missing views take.
DIMVIDA_HD int64_t missing_row(const ModulatedNormParams& p) {
  return 1 + (p.step ? index_at(p.step, p.step_dtype) : 0);
}

DIMVIDA_HD bool is_out_of_range(const ModulatedNormParams& p, int64_t missing_row) {
  return missing_row < 1 || missing_row >= p.table_rows;
}

// Gate, shift and scale, each [width], of a view.
struct Modulation {
  const float *gate, *shift, *scale;
};

DIMVIDA_HD Modulation modulation_of(const ModulatedNormParams& p, int64_t group, int64_t missing_row) {
  const float* row = p.table + (p.known && p.known[group] ? 0 : missing_row * p.table_stride);
  return {row, row + p.width, row + 2 * p.width};
}

DIMVIDA_HD float gated_sum(float x, float gate, float h) { return x + gate * h; }

// What a deviation from the mean is multiplied with.
DIMVIDA_HD float inverse_deviation(float squared_deviations, int64_t width, float eps) {
  return 1.0f / sqrtf(squared_deviations / static_cast<float>(width) + eps);
}

DIMVIDA_HD float modulated(float x, float mean, float inverse, float shift, float scale) {
  return (x - mean) * inverse * scale + shift;
}

}  // namespace dimvida
