// The masked step on the CPU.
#include "core/masked_step.h"

#include "cpu/tiles.h"

namespace dimvida::cpu::DIMVIDA_SIMD {

// Which terms are in use is known per step; the template keeps the question out of the inner loop.
template <bool kHistory, bool kNoise>
static void predict_and_step(float* DIMVIDA_RESTRICT x, float* DIMVIDA_RESTRICT x0_prev,
                             const float* DIMVIDA_RESTRICT model_output, const float* DIMVIDA_RESTRICT z,
                             StepRow row, float clip, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    const float x0 = data_prediction(row, clip, x[i], model_output[i]);
    x[i] = next_state(row, x[i], x0, kHistory ? x0_prev[i] : 0.0f, kNoise ? z[i] : 0.0f, kHistory, kNoise);
    x0_prev[i] = x0;
  }
}

template <bool kNoise>
static void renoise(float* DIMVIDA_RESTRICT x, const float* DIMVIDA_RESTRICT z, StepRow row, int64_t count) {
  for (int64_t i = 0; i < count; ++i) x[i] = renoised_state(row, x[i], kNoise ? z[i] : 0.0f, kNoise);
}

// Everything of a step that does not depend on the tile.
struct Step {
  const MaskedStepParams& p;
  StepRow row;
  uint32_t draw;
};

// Elements [begin, end) of sample b, all in missing views, at most a tile.
static void step_run(const Step& step, int64_t b, int64_t begin, int64_t end) {
  const MaskedStepParams& p = step.p;
  const StepRow& row = step.row;
  const int64_t first = b * p.views * p.dim + begin;
  const int64_t count = end - begin;
  float drawn[kTile + 8], converted[kTile];

  const float* z = nullptr;
  if (row.uses_noise() && p.noise) {
    z = p.noise + first;
  } else if (row.uses_noise()) {
    const int64_t quad = begin / 4;
    draw_normals(drawn, quad, (end + 3) / 4 - quad, step.draw, p.sample_ids[b], *p.seed);
    z = drawn + (begin - 4 * quad);
  }

  float* x = p.x + first;
  if (!row.uses_prediction()) {
    row.uses_noise() ? renoise<true>(x, z, row, count) : renoise<false>(x, z, row, count);
    return;
  }
  const float* model_output = static_cast<const float*>(p.model_output) + first;
  if (p.model_output_dtype != DType::kFloat32) {
    load(converted, p.model_output, p.model_output_dtype, first, count);
    model_output = converted;
  }
  float* x0_prev = p.x0_prev + first;
  if (row.uses_history()) {
    row.uses_noise() ? predict_and_step<true, true>(x, x0_prev, model_output, z, row, p.clip, count)
                     : predict_and_step<true, false>(x, x0_prev, model_output, z, row, p.clip, count);
  } else {
    row.uses_noise() ? predict_and_step<false, true>(x, x0_prev, model_output, z, row, p.clip, count)
                     : predict_and_step<false, false>(x, x0_prev, model_output, z, row, p.clip, count);
  }
}

// Elements [begin, end) of sample b: runs of missing views are stepped, then the whole tile is copied.
static void step_tile(const Step& step, int64_t b, int64_t begin, int64_t end) {
  const MaskedStepParams& p = step.p;
  const uint8_t* known = p.known + b * p.views;
  for (int64_t e = begin; e < end;) {
    int64_t view = e / p.dim;
    const bool is_known = known[view] != 0;
    while (view < p.views && view * p.dim < end && (known[view] != 0) == is_known) ++view;
    const int64_t stop = view * p.dim < end ? view * p.dim : end;
    if (!is_known) step_run(step, b, e, stop);
    e = stop;
  }
  if (p.x_cast) {
    const int64_t first = b * p.views * p.dim + begin;
    store(p.x_cast, p.x + first, p.x_cast_dtype, first, end - begin);
  }
}

int masked_step(const MaskedStepParams& p, int threads) {
  const int64_t count = p.views * p.dim;
  const int64_t tiles = tiles_of(count);
  const int64_t items = p.batch * tiles;
  if (items == 0) return kOk;
  const int64_t index = index_at(p.step, p.step_dtype);
  if (index < 0 || index >= p.table_rows) return kStepOutOfRange;
  const Step step = {p, step_row(p.table, index), step_draw(index)};
  const int team = team_size(p.batch * count, threads);
#pragma omp parallel for schedule(static) num_threads(team) if (team > 1)
  for (int64_t item = 0; item < items; ++item) {
    const int64_t begin = (item % tiles) * kTile;
    const int64_t end = begin + kTile < count ? begin + kTile : count;
    step_tile(step, item / tiles, begin, end);
  }
  return kOk;
}

}  // namespace dimvida::cpu::DIMVIDA_SIMD
