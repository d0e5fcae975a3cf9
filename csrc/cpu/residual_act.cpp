// Residual and activation on the CPU.
#include "core/residual_act.h"

#include "cpu/summands.h"

namespace dimvida::cpu::DIMVIDA_SIMD {

static void to_silu(float* DIMVIDA_RESTRICT v, int64_t count) {
  for (int64_t i = 0; i < count; ++i) v[i] = silu(v[i]);
}

static void to_leaky(float* DIMVIDA_RESTRICT v, float slope, int64_t count) {
  for (int64_t i = 0; i < count; ++i) v[i] = leaky(v[i], slope);
}

// A row of pixels of made, of image n.
static void activate_row(const SumRuns<ResidualActParams>& runs, int64_t n, int64_t row) {
  const ResidualActParams& p = runs.p;
  const int64_t size = p.made_width * runs.pixel;
  float v[kMostChannels];
  runs.for_runs(row * size, (row + 1) * size, [&](int64_t begin, int64_t count) {
    runs.load_sums(v, n, begin, count);
    if (p.total) runs.store_run(p.total, v, n, begin, count);
    is_silu(p) ? to_silu(v, count) : to_leaky(v, p.slope, count);
    runs.store_run(p.out, v, n, begin, count);
  });
}

int residual_act(const ResidualActParams& p, int threads) {
  const int64_t elements = p.batch * p.height * p.width * p.channels;
  if (elements == 0) return kOk;
  const SumRuns<ResidualActParams> runs(p);
  const int team = team_size(elements, threads);
#pragma omp parallel for schedule(static) num_threads(team) if (team > 1)
  for (int64_t row = 0; row < p.batch * p.made_height; ++row) {
    activate_row(runs, row / p.made_height, row % p.made_height);
  }
  return kOk;
}

}  // namespace dimvida::cpu::DIMVIDA_SIMD
