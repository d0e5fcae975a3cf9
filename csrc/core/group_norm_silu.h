// Group normalisation followed by SiLU, with what the score network adds just before it.
//
//   v   = [left + residual, right] + rows[mask, step]     the two halves of a row stand in for a
//   concatenation out = silu((v - mean(v)) / sqrt(var(v) + eps) * weight + bias)     over each of `groups`
//   groups of columns
//
// Mean and variance are taken in float32 in two passes. The order of their sums differs between devices; all
// else is rounded alike.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/dtype.h"
#include "core/exponential.h"
#include "core/macros.h"

namespace dimvida {

struct GroupNormSiluParams {
  const void* left;      // [batch, left_width] first columns of the input, of in_dtype
  const void* right;     // [batch, width - left_width] the other columns, of in_dtype; null if there are none
  const void* residual;  // [batch, left_width] added to left, of in_dtype, or null
  void* sum;  // [batch, left_width] takes left + residual, in in_dtype, or null; may be left or residual
  const float* rows;    // [masks, steps, width] added to the input, or null
  const int64_t* mask;  // [batch] first index into rows, or null for 0
  const void* step;     // [1] second index into rows, int64 if step_is_int64 else int32; null for 0
  const float* weight;  // [width] scale of the normalised values
  const float* bias;    // [width] their offset
  void* out;            // [batch, width] result, in out_dtype
  int64_t left_stride, right_stride, residual_stride, sum_stride,
      out_stride;                    // elements from one row to the next
  int64_t mask_stride, step_stride;  // elements of rows from one mask, and from one step, to the next
  int64_t batch;                     // rows of the input, may be 0
  int64_t width;                     // columns, a multiple of groups
  int64_t left_width;                // columns of left
  int64_t groups;                    // groups of columns that are normalised together
  int64_t masks, steps;              // sizes of rows
  float eps;                         // added to the variance
  DType in_dtype;                    // type of left, right, residual and sum
  DType out_dtype;                   // type of out
  int32_t step_is_int64;             // whether step points to an int64
};

DIMVIDA_HD int64_t row_step(const GroupNormSiluParams& p) {
  if (!p.step) return 0;
  return p.step_is_int64 ? *static_cast<const int64_t*>(p.step) : *static_cast<const int32_t*>(p.step);
}

// The row of `rows` that sample b takes; null if there are none. Masks out of range take no row, since they
// can be found too late for an error.
DIMVIDA_HD const float* added_row(const GroupNormSiluParams& p, int64_t step, int64_t b) {
  const int64_t mask = p.mask ? p.mask[b] : 0;
  if (!p.rows || mask < 0 || mask >= p.masks) return nullptr;
  return p.rows + mask * p.mask_stride + step * p.step_stride;
}

// What normalises a group: out = silu((v - mean) * scale * weight + bias).
struct GroupMoments {
  float mean, scale;
};

DIMVIDA_HD GroupMoments group_moments(float mean, float squared_deviations, int64_t count, float eps) {
  return {mean, 1.0f / sqrtf(squared_deviations / static_cast<float>(count) + eps)};
}

DIMVIDA_HD float normalised_silu(float v, GroupMoments moments, float weight, float bias) {
  return silu((v - moments.mean) * moments.scale * weight + bias);
}

}  // namespace dimvida
