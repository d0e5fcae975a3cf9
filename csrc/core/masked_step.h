// One step of any of the solvers on the missing views of a batch.
//
//   x0      = clamp((x + sigma * model_output) / m, -clip, clip)    the data prediction
//   x       = a * x + b * x0 + c * x0_prev + d * z
//   x0_prev = x0
//
// The row (sigma, m, a, b, c, d) is what makes it Euler-Maruyama, DDIM, DPM-Solver++ or RePaint's re-noising.
// Known views are never written. Every operation is rounded on its own, in the order written, so that the
// same expression in PyTorch has the same bits.
#pragma once

#include <cstdint>

#include "core/params.h"
#include "core/portable.h"

namespace dimvida {

constexpr int kStepTableColumns = 8;  // sigma, m, a, b, c, d, and two unused so that a row is 32 bytes

// clang-format off
#define DIMVIDA_MASKED_STEP_PARAMS(FIELD)                                                                    \
  /* [batch, views, dim] state; missing views are updated in place */                                        \
  FIELD(WRITTEN, float, x, run(batch * views * dim))                                                         \
  /* [batch, views, dim] data prediction of the step before; replaced where x0 is computed */                \
  FIELD(WRITTEN, float, x0_prev, run(batch * views * dim))                                                   \
  /* [batch, views, dim] output of the network; read only where x0 is computed */                            \
  FIELD(IN_PLACE, void, model_output, run(batch * views * dim, model_output_dtype))                          \
  FIELD(READ, uint8_t, known, run(batch * views))    /* [batch, views] nonzero where the view is known */    \
  /* [table_rows, kStepTableColumns] coefficients of every step */                                           \
  FIELD(READ, float, table, run(table_rows * kStepTableColumns))                                             \
  FIELD(READ, void, step, run(1, step_dtype))        /* [1] row of the table to apply */                     \
  FIELD(READ, int64_t, sample_ids, run(batch))       /* [batch] the upper half of the noise counter */       \
  FIELD(READ, int64_t, seed, run(1))                 /* [1] key of the noise */                              \
  /* [batch, views, dim] used as z instead of drawing it, or null */                                         \
  FIELD(IN_PLACE, float, noise, run(batch * views * dim))                                                    \
  /* [batch, views, dim] takes a copy of the whole new x, or null */                                         \
  FIELD(WRITTEN, void, x_cast, run(batch * views * dim, x_cast_dtype))                                       \
  FIELD(NUMBER, int64_t, batch)                      /* number of samples, may be 0 */                       \
  FIELD(NUMBER, int64_t, views)                      /* views of a sample */                                 \
  FIELD(NUMBER, int64_t, dim)                        /* latent size of a view; views * dim <= 2^34 */        \
  FIELD(NUMBER, int64_t, table_rows)                 /* rows of the table */                                 \
  FIELD(NUMBER, float, clip)                         /* bound of |x0|, infinity for none */                  \
  FIELD(NUMBER, DType, model_output_dtype)           /* floating */                                          \
  FIELD(NUMBER, DType, x_cast_dtype)                 /* floating */                                          \
  FIELD(NUMBER, DType, step_dtype)                   /* kInt32 or kInt64 */
// clang-format on

DIMVIDA_KERNEL(masked_step, MaskedStepParams, DIMVIDA_MASKED_STEP_PARAMS);

// A row of the table and what of the formula it uses. Unused terms are left out, not multiplied by zero, so
// what they would read may be uninitialised.
struct StepRow {
  float sigma, m, a, b, c, d;

  DIMVIDA_HD_MEMBER bool uses_prediction() const { return b != 0.0f || c != 0.0f; }
  DIMVIDA_HD_MEMBER bool uses_history() const { return c != 0.0f; }
  DIMVIDA_HD_MEMBER bool uses_noise() const { return d != 0.0f; }
};

DIMVIDA_HD StepRow step_row(const float* table, int64_t index) {
  const float* row = table + index * kStepTableColumns;
  return {row[0], row[1], row[2], row[3], row[4], row[5]};
}

// The noise of table row i is draw i + 1; draw 0 is the initial state.
DIMVIDA_HD uint32_t step_draw(int64_t index) { return static_cast<uint32_t>(index + 1); }

DIMVIDA_HD float data_prediction(const StepRow& row, float clip, float x, float model_output) {
  const float x0 = (x + row.sigma * model_output) / row.m;
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
