// Group normalisation followed by SiLU, with what the score network adds just before it.
//
//   v   = [left, right] + time_bias[table_row, step]
//   out = silu((v - mean(v)) / sqrt(var(v) + eps) * weight + bias)
//
// Mean and variance are those of each of `groups` groups of columns (Wu and He, "Group normalization", 2018),
// taken in float32 in two passes. The two halves of a row stand in for a concatenation. The order of sums
// differs between devices; all else is rounded alike.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/exponential.h"
#include "core/params.h"
#include "core/portable.h"

namespace dimvida {

// clang-format off
#define DIMVIDA_GROUP_NORM_SILU_PARAMS(FIELD)                                                                \
  FIELD(WRITTEN, void, out, matrix(batch, width, out_stride, out_dtype))             /* [batch, width] */    \
  /* [batch, left_width] first columns of the input */                                                       \
  FIELD(READ, void, left, matrix(batch, left_width, left_stride, left_dtype))                                \
  /* [batch, width - left_width] the other columns, in the type of left; null if there are none */           \
  FIELD(READ, void, right, matrix(batch, width - left_width, right_stride, left_dtype))                      \
  FIELD(READ, float, weight, run(width))             /* [width] scale of the normalised values */            \
  FIELD(READ, float, bias, run(width))               /* [width] their offset */                              \
  /* [time_bias_rows, time_bias_steps, width] added to the input, or null; gaps count as theirs */           \
  FIELD(READ, float, time_bias,                                                                              \
        run((time_bias_rows - 1) * time_bias_row_stride +                                                    \
            (time_bias_steps - 1) * time_bias_step_stride + width))                                          \
  FIELD(READ, int64_t, table_row, run(batch))        /* [batch] first index, or null for 0 */                \
  FIELD(READ, void, step, run(1, step_dtype))        /* [1] second index, or null for 0 */                   \
  FIELD(NUMBER, int64_t, left_stride)                /* elements from one row of left to the next */         \
  FIELD(NUMBER, int64_t, right_stride)                                                                       \
  FIELD(NUMBER, int64_t, out_stride)                                                                         \
  FIELD(NUMBER, int64_t, time_bias_row_stride)       /* elements from one first index to the next */         \
  FIELD(NUMBER, int64_t, time_bias_step_stride)      /* elements from one second index to the next */        \
  FIELD(NUMBER, int64_t, time_bias_rows)                                                                     \
  FIELD(NUMBER, int64_t, time_bias_steps)                                                                    \
  FIELD(NUMBER, int64_t, batch)                      /* rows of the input, may be 0 */                       \
  FIELD(NUMBER, int64_t, width)                      /* columns, a multiple of groups */                     \
  FIELD(NUMBER, int64_t, left_width)                 /* columns of left */                                   \
  FIELD(NUMBER, int64_t, groups)                     /* groups of columns that are normalised together */    \
  FIELD(NUMBER, float, eps)                          /* added to the variance */                             \
  FIELD(NUMBER, DType, left_dtype)                   /* floating */                                          \
  FIELD(NUMBER, DType, out_dtype)                    /* floating */                                          \
  FIELD(NUMBER, DType, step_dtype)                   /* kInt32 or kInt64 */
// clang-format on

DIMVIDA_KERNEL(group_norm_silu, GroupNormSiluParams, DIMVIDA_GROUP_NORM_SILU_PARAMS);

DIMVIDA_HD int64_t bias_step(const GroupNormSiluParams& p) {
  return p.step ? index_at(p.step, p.step_dtype) : 0;
}

// Whether time_bias has no such step.
DIMVIDA_HD bool is_out_of_range(const GroupNormSiluParams& p, int64_t step) {
  return p.time_bias && (step < 0 || step >= p.time_bias_steps);
}

// The row of time_bias that sample b takes; null if there is none. A first index out of range takes no row,
// since it can be found too late for an error.
DIMVIDA_HD const float* added_row(const GroupNormSiluParams& p, int64_t step, int64_t b) {
  const int64_t row = p.table_row ? p.table_row[b] : 0;
  if (!p.time_bias || row < 0 || row >= p.time_bias_rows) return nullptr;
  return p.time_bias + row * p.time_bias_row_stride + step * p.time_bias_step_stride;
}

// What normalises a group: out = silu(normalised(v)).
struct GroupMoments {
  float mean, scale;
};

DIMVIDA_HD GroupMoments group_moments(float mean, float squared_deviations, int64_t count, float eps) {
  return {mean, 1.0f / sqrtf(squared_deviations / static_cast<float>(count) + eps)};
}

DIMVIDA_HD float normalised(float v, GroupMoments moments, float weight, float bias) {
  return (v - moments.mean) * moments.scale * weight + bias;
}

}  // namespace dimvida
