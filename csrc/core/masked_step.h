// One step of any of the solvers on the missing views of a batch.
//
//   x0      = clamp((x + sigma * out) / m, -clip, clip)    the data prediction; out is minus the noise
//   x       = a * x + b * x0 + c * x0_prev + d * z
//   x0_prev = x0
//
// The row (sigma, m, a, b, c, d) is what makes it Euler-Maruyama, DDIM, DPM-Solver++ or RePaint's re-noising.
// Known views are never written. Every operation is rounded on its own, in the order written, so that the
// same expression in PyTorch has the same bits.
#pragma once

#include <cstdint>

#include "core/dtype.h"
#include "core/macros.h"

namespace dimvida {

constexpr int kStepTableColumns = 8;  // sigma, m, a, b, c, d, and two unused so that a row is 32 bytes

struct MaskedStepParams {
  float* x;         // [batch, views, dim] state; missing views are updated in place
  float* x0_prev;   // [batch, views, dim] data prediction of the step before; replaced where x0 is computed
  const void* out;  // [batch, views, dim] network output of type out_dtype; read only where x0 is computed
  const uint8_t* known;       // [batch, views] nonzero where the view is known
  const float* table;         // [rows, kStepTableColumns] coefficients of every step
  const void* step;           // [1] row of the table to apply, int64 if step_is_int64 else int32
  const int64_t* sample_ids;  // [batch] identity of each sample, the upper half of its noise counter
  const int64_t* seed;        // [1] key of the noise
  const float* noise;         // [batch, views, dim] used as z instead of drawing it, or null
  void* low;                  // [batch, views, dim] copy of the whole new x in low_dtype, or null
  int64_t batch;              // number of samples, may be 0
  int64_t views;              // views of a sample
  int64_t dim;                // latent size of a view; views * dim <= 2^34
  int64_t rows;               // rows of the table
  float clip;                 // bound of |x0|, infinity for none
  DType out_dtype;            // type of out
  DType low_dtype;            // type of low
  int32_t step_is_int64;      // whether step points to an int64
};

// A row of the table and what of the formula it uses. Unused terms are left out, not multiplied by zero, so
// what they would read may be uninitialised.
struct StepRow {
  float sigma, m, a, b, c, d;

  DIMVIDA_HD_MEMBER bool uses_prediction() const { return b != 0.0f || c != 0.0f; }
  DIMVIDA_HD_MEMBER bool uses_history() const { return c != 0.0f; }
  DIMVIDA_HD_MEMBER bool uses_noise() const { return d != 0.0f; }
};

DIMVIDA_HD int64_t step_index(const MaskedStepParams& p) {
  return p.step_is_int64 ? *static_cast<const int64_t*>(p.step) : *static_cast<const int32_t*>(p.step);
}

DIMVIDA_HD StepRow step_row(const MaskedStepParams& p, int64_t index) {
  const float* row = p.table + index * kStepTableColumns;
  return {row[0], row[1], row[2], row[3], row[4], row[5]};
}

// The noise of table row i is draw i + 1; draw 0 is the initial state.
DIMVIDA_HD uint32_t step_draw(int64_t index) { return static_cast<uint32_t>(index + 1); }

DIMVIDA_HD float data_prediction(const StepRow& row, float clip, float x, float out) {
  const float x0 = (x + row.sigma * out) / row.m;
  // Comparisons rather than fminf and fmaxf, which would turn a NaN into the bound.
  const float above = x0 < -clip ? -clip : x0;
  return above > clip ? clip : above;
}

// Without a prediction (re-noising): x <- a x + d z. The flag is row.uses_noise(), passed so that a loop can
// have it as a constant.
DIMVIDA_HD float renoised_state(const StepRow& row, float x, float z, bool noise) {
  const float next = row.a * x;
  return noise ? next + row.d * z : next;
}

// With one: x <- a x + b x0 + c x0_prev + d z. The flags are row.uses_history() and row.uses_noise().
DIMVIDA_HD float next_state(const StepRow& row, float x, float x0, float x0_prev, float z, bool history,
                            bool noise) {
  float next = row.a * x + row.b * x0;
  next = history ? next + row.c * x0_prev : next;
  return noise ? next + row.d * z : next;
}

}  // namespace dimvida
