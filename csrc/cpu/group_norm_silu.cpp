// Group norm and SiLU on the CPU.
#include "core/group_norm_silu.h"

#include "cpu/convert.h"
#include "cpu/kernels.h"
#include "cpu/tiling.h"

namespace dimvida::cpu::DIMVIDA_SIMD {

// Partial sums that are kept side by side, a fixed number so that every instruction set adds in the same
// order.
constexpr int kLanes = 16;

static float sum_of(const float* v, int64_t count) {
  float partial[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) partial[lane] += v[i + lane];
  }
  for (int lane = 0; i < count; ++i, ++lane) partial[lane] += v[i];
  for (int half = kLanes / 2; half > 0; half /= 2) {
    for (int lane = 0; lane < half; ++lane) partial[lane] += partial[lane + half];
  }
  return partial[0];
}

static float squared_deviations(const float* v, float mean, int64_t count) {
  float partial[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) {
      const float deviation = v[i + lane] - mean;
      partial[lane] += deviation * deviation;
    }
  }
  for (int lane = 0; i < count; ++i, ++lane) {
    const float deviation = v[i] - mean;
    partial[lane] += deviation * deviation;
  }
  for (int half = kLanes / 2; half > 0; half /= 2) {
    for (int lane = 0; lane < half; ++lane) partial[lane] += partial[lane + half];
  }
  return partial[0];
}

static void add(float* DIMVIDA_RESTRICT v, const float* DIMVIDA_RESTRICT other, int64_t count) {
  for (int64_t i = 0; i < count; ++i) v[i] += other[i];
}

// One sample's row of the input.
struct Row {
  const GroupNormSiluParams& p;
  int64_t b;
  const float* added;  // [width] or null

  // Columns [begin, end), at most a tile, as they enter the norm. Writes their sum where one is asked for.
  void read(float* v, int64_t begin, int64_t end) const {
    const int64_t border = end < p.left_width ? end : p.left_width;
    if (begin < border) read_left(v, begin, border);
    if (end > p.left_width) {
      const int64_t from = begin < p.left_width ? p.left_width : begin;
      load(v + (from - begin), p.right, p.in_dtype, b * p.right_stride + from - p.left_width, end - from);
    }
    if (added) add(v, added + begin, end - begin);
  }

 private:
  void read_left(float* v, int64_t begin, int64_t end) const {
    const int64_t count = end - begin;
    load(v, p.left, p.in_dtype, b * p.left_stride + begin, count);
    if (p.residual) {
      float residual[kTile];
      load(residual, p.residual, p.in_dtype, b * p.residual_stride + begin, count);
      add(v, residual, count);
    }
  }
};

// A separate pass, so that a sum written over its own input is never read again.
static void write_sum(const GroupNormSiluParams& p, int64_t b) {
  float v[kTile];
  const Row plain = {p, b, nullptr};
  for (int64_t begin = 0; begin < p.left_width; begin += kTile) {
    const int64_t end = begin + kTile < p.left_width ? begin + kTile : p.left_width;
    plain.read(v, begin, end);
    store(p.sum, v, p.in_dtype, b * p.sum_stride + begin, end - begin);
  }
}

static void write_tile(const GroupNormSiluParams& p, int64_t b, float* DIMVIDA_RESTRICT v,
                       GroupMoments moments, int64_t begin, int64_t end) {
  const float* DIMVIDA_RESTRICT weight = p.weight + begin;
  const float* DIMVIDA_RESTRICT bias = p.bias + begin;
  const int64_t count = end - begin;
  for (int64_t i = 0; i < count; ++i) v[i] = normalised_silu(v[i], moments, weight[i], bias[i]);
  store(p.out, v, p.out_dtype, b * p.out_stride + begin, count);
}

// Columns [begin, end) are a group. A group of one tile is read once, a larger one once per pass.
static void normalise_group(const Row& row, int64_t begin, int64_t end) {
  const GroupNormSiluParams& p = row.p;
  const int64_t count = end - begin;
  float v[kTile];
  if (count <= kTile) {
    row.read(v, begin, end);
    const float mean = sum_of(v, count) / static_cast<float>(count);
    const GroupMoments moments = group_moments(mean, squared_deviations(v, mean, count), count, p.eps);
    write_tile(p, row.b, v, moments, begin, end);
    return;
  }
  const auto for_tiles = [&](auto&& visit) {
    for (int64_t from = begin; from < end; from += kTile) {
      const int64_t to = from + kTile < end ? from + kTile : end;
      row.read(v, from, to);
      visit(from, to);
    }
  };
  float sum = 0.0f, squares = 0.0f;
  for_tiles([&](int64_t from, int64_t to) { sum += sum_of(v, to - from); });
  const float mean = sum / static_cast<float>(count);
  for_tiles([&](int64_t from, int64_t to) { squares += squared_deviations(v, mean, to - from); });
  const GroupMoments moments = group_moments(mean, squares, count, p.eps);
  for_tiles([&](int64_t from, int64_t to) { write_tile(p, row.b, v, moments, from, to); });
}

int group_norm_silu(const GroupNormSiluParams& p, int threads) {
  if (p.batch == 0 || p.width == 0) return kOk;
  const int64_t step = row_step(p);
  if (p.rows && (step < 0 || step >= p.steps)) return kStepOutOfRange;
  const int64_t group = p.width / p.groups;
  const int team = team_size(p.batch * p.width, threads);
#pragma omp parallel for schedule(static) num_threads(team) if (team > 1)
  for (int64_t b = 0; b < p.batch; ++b) {
    const Row row = {p, b, added_row(p, step, b)};
    for (int64_t begin = 0; begin < p.width; begin += group) normalise_group(row, begin, begin + group);
    if (p.sum) write_sum(p, b);
  }
  return kOk;
}

}  // namespace dimvida::cpu::DIMVIDA_SIMD
