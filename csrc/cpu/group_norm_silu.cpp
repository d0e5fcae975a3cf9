// Group norm and SiLU on the CPU.
#include "core/group_norm_silu.h"

#include "cpu/tiles.h"

namespace dimvida::cpu::DIMVIDA_SIMD {

// Partial sums that are kept side by side, a fixed number so that every instruction set adds in the same
// order.
constexpr int kLanes = 16;

// Elements that may be read past the end of a group, whatever they hold.
constexpr int64_t kPadding = kLanes;

// Sum of term(v[i]) over a group.
template <class Term>
DIMVIDA_HD float reduce(const float* v, int64_t count, Term term) {
  float partial[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) partial[lane] += term(v[i + lane]);
  }
  const int rest = static_cast<int>(count - i);
  if (rest > 0) {
    for (int lane = 0; lane < kLanes; ++lane) partial[lane] += lane < rest ? term(v[i + lane]) : 0.0f;
  }
  for (int half = kLanes / 2; half > 0; half /= 2) {
    for (int lane = 0; lane < half; ++lane) partial[lane] += partial[lane + half];
  }
  return partial[0];
}

static float sum_of(const float* v, int64_t count) {
  return reduce(v, count, [](float x) { return x; });
}

static float squared_deviations(const float* v, float mean, int64_t count) {
  return reduce(v, count, [mean](float x) {
    const float deviation = x - mean;
    return deviation * deviation;
  });
}

static void add(float* DIMVIDA_RESTRICT v, const float* DIMVIDA_RESTRICT other, int64_t count) {
  for (int64_t i = 0; i < count; ++i) v[i] += other[i];
}

// One sample's row of the input.
struct Row {
  const GroupNormSiluParams& p;
  int64_t b;
  const float* added;  // [width] or null

  // Columns [begin, end), at most a tile, as they enter the norm.
  void read(float* v, int64_t begin, int64_t end) const {
    const int64_t border = end < p.left_width ? end : p.left_width;
    if (begin < border) load(v, p.left, p.left_dtype, b * p.left_stride + begin, border - begin);
    if (end > p.left_width) {
      const int64_t from = begin < p.left_width ? p.left_width : begin;
      load(v + (from - begin), p.right, p.left_dtype, b * p.right_stride + from - p.left_width, end - from);
    }
    if (added) add(v, added + begin, end - begin);
  }
};

static void normalise(float* DIMVIDA_RESTRICT v, GroupMoments moments, const float* DIMVIDA_RESTRICT weight,
                      const float* DIMVIDA_RESTRICT bias, int64_t count) {
  for (int64_t i = 0; i < count; ++i) v[i] = silu(normalised(v[i], moments, weight[i], bias[i]));
}

// Columns [begin, end), whole groups that together fit a tile.
static void normalise_groups(const Row& row, int64_t begin, int64_t end) {
  const GroupNormSiluParams& p = row.p;
  const int64_t group = p.width / p.groups;
  float v[kTile + kPadding];
  for (int64_t i = 0; i < kPadding; ++i) v[end - begin + i] = 0.0f;
  row.read(v, begin, end);
  // Two loops, so that the processor overlaps the long chains of sums, root and quotient of several groups.
  GroupMoments moments[kTile];
  const int64_t groups = (end - begin) / group;
  for (int64_t g = 0; g < groups; ++g) {
    const float* const own = v + g * group;
    const float mean = sum_of(own, group) / static_cast<float>(group);
    moments[g] = group_moments(mean, squared_deviations(own, mean, group), group, p.eps);
  }
  for (int64_t g = 0; g < groups; ++g) {
    const int64_t from = g * group;
    normalise(v + from, moments[g], p.weight + begin + from, p.bias + begin + from, group);
  }
  store(p.out, v, p.out_dtype, row.b * p.out_stride + begin, end - begin);
}

// Columns [begin, end), one group that is larger than a tile: it is read once per pass.
static void normalise_large_group(const Row& row, int64_t begin, int64_t end) {
  const GroupNormSiluParams& p = row.p;
  const int64_t count = end - begin;
  float v[kTile + kPadding] = {};
  const auto for_tiles = [&](auto&& visit) {
    for (int64_t from = begin; from < end; from += kTile) {
      const int64_t to = from + kTile < end ? from + kTile : end;
      row.read(v, from, to);
      visit(from, to - from);
    }
  };
  float sum = 0.0f, squares = 0.0f;
  for_tiles([&](int64_t, int64_t size) { sum += sum_of(v, size); });
  const float mean = sum / static_cast<float>(count);
  for_tiles([&](int64_t, int64_t size) { squares += squared_deviations(v, mean, size); });
  const GroupMoments moments = group_moments(mean, squares, count, p.eps);
  for_tiles([&](int64_t from, int64_t size) {
    normalise(v, moments, p.weight + from, p.bias + from, size);
    store(p.out, v, p.out_dtype, row.b * p.out_stride + from, size);
  });
}

static void normalise_row(const Row& row) {
  const int64_t group = row.p.width / row.p.groups;
  const int64_t chunk = group > kTile ? group : kTile / group * group;
  for (int64_t begin = 0; begin < row.p.width; begin += chunk) {
    const int64_t end = begin + chunk < row.p.width ? begin + chunk : row.p.width;
    group > kTile ? normalise_large_group(row, begin, end) : normalise_groups(row, begin, end);
  }
}

int group_norm_silu(const GroupNormSiluParams& p, int threads) {
  if (p.batch == 0 || p.width == 0) return kOk;
  const int64_t step = bias_step(p);
  if (is_out_of_range(p, step)) return kStepOutOfRange;
  const int team = team_size(p.batch * p.width, threads);
#pragma omp parallel for schedule(static) num_threads(team) if (team > 1)
  for (int64_t b = 0; b < p.batch; ++b) {
    normalise_row({p, b, added_row(p, step, b)});
  }
  return kOk;
}

}  // namespace dimvida::cpu::DIMVIDA_SIMD
