// Residual, group norm and SiLU on the CPU: an image at a time, whose runs are read once in every pass.
#include "core/residual_norm_silu.h"

#include "cpu/summands.h"

namespace dimvida::cpu::DIMVIDA_SIMD {

using Runs = SumRuns<ResidualNormSiluParams>;

// What normalises each element of a run.
struct Moments {
  float mean[kMostChannels], scale[kMostChannels];
};

static void add(float* DIMVIDA_RESTRICT sums, const float* DIMVIDA_RESTRICT v, int64_t count) {
  for (int64_t i = 0; i < count; ++i) sums[i] += v[i];
}

static void add_squares(float* DIMVIDA_RESTRICT sums, const float* DIMVIDA_RESTRICT v,
                        const float* DIMVIDA_RESTRICT mean, int64_t count) {
  for (int64_t i = 0; i < count; ++i) sums[i] += (v[i] - mean[i]) * (v[i] - mean[i]);
}

static void normalise(float* DIMVIDA_RESTRICT v, const Moments& moments, const float* DIMVIDA_RESTRICT weight,
                      const float* DIMVIDA_RESTRICT bias, int64_t count) {
  const float* DIMVIDA_RESTRICT mean = moments.mean;
  const float* DIMVIDA_RESTRICT scale = moments.scale;
  for (int64_t i = 0; i < count; ++i) v[i] = silu(normalised(v[i], {mean[i], scale[i]}, weight[i], bias[i]));
}

// Replaces the sums of a run's elements, each over all runs, by work(sum over the element's group).
template <class Work>
static void for_groups(const Runs& runs, float* sums, Work&& work) {
  const int64_t channels = runs.p.channels, group = channels / runs.p.groups;
  for (int64_t begin = channels; begin < runs.run; begin += channels) {
    for (int64_t c = 0; c < channels; ++c) sums[c] += sums[begin + c];
  }
  for (int64_t first = 0; first < channels; first += group) {
    float sum = 0.0f;
    for (int64_t c = first; c < first + group; ++c) sum += sums[c];
    const float result = work(sum);
    for (int64_t c = first; c < first + group; ++c) sums[c] = result;
  }
  runs.repeat(sums, sums, channels);
}

// weight and bias are those of the norm, for every element of a run.
static void normalise_image(const Runs& runs, int64_t n, const float* weight, const float* bias) {
  const ResidualNormSiluParams& p = runs.p;
  const int64_t size = p.height * p.width * (p.channels / p.groups);
  Moments moments;
  float v[kMostChannels];
  const auto for_sums = [&](auto&& visit) {
    runs.for_runs(0, runs.image(), [&](int64_t begin, int64_t count) {
      runs.load_sums(v, n, begin, count);
      visit(begin, count);
    });
  };
  for (int64_t i = 0; i < runs.run; ++i) moments.mean[i] = moments.scale[i] = 0.0f;
  for_sums([&](int64_t, int64_t count) { add(moments.mean, v, count); });
  for_groups(runs, moments.mean, [&](float sum) { return sum / static_cast<float>(size); });
  for_sums([&](int64_t, int64_t count) { add_squares(moments.scale, v, moments.mean, count); });
  for_groups(runs, moments.scale,
             [&](float squares) { return group_moments(0.0f, squares, size, p.eps).scale; });
  for_sums([&](int64_t begin, int64_t count) {
    if (p.total) runs.store_run(p.total, v, n, begin, count);
    normalise(v, moments, weight, bias, count);
    runs.store_run(p.out, v, n, begin, count);
  });
}

int residual_norm_silu(const ResidualNormSiluParams& p, int threads) {
  const int64_t elements = p.batch * p.height * p.width * p.channels;
  if (elements == 0) return kOk;
  const Runs runs(p);
  float weight[kMostChannels], bias[kMostChannels];
  runs.repeat(weight, p.norm_weight, p.channels);
  runs.repeat(bias, p.norm_bias, p.channels);
  const int team = team_size(elements, threads);
#pragma omp parallel for schedule(static) num_threads(team) if (team > 1)
  for (int64_t n = 0; n < p.batch; ++n) normalise_image(runs, n, weight, bias);
  return kOk;
}

}  // namespace dimvida::cpu::DIMVIDA_SIMD
