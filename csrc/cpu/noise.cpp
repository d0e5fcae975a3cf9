// Noise tensors and raw random words on the CPU.
#include "core/noise.h"

#include "cpu/tiles.h"

namespace dimvida::cpu::DIMVIDA_SIMD {

// Elements [begin, end) of sample b; begin is the start of a tile.
static void fill_tile(const PhiloxNormalParams& p, int64_t b, int64_t begin, int64_t end) {
  float* z = p.z + b * p.count;
  const int64_t whole = (end - begin) / 4;
  draw_normals(z + begin, begin / 4, whole, p.draw, p.sample_ids[b], *p.seed);
  const int64_t done = begin + 4 * whole;
  if (done == end) return;
  float last[4];
  draw_normals(last, done / 4, 1, p.draw, p.sample_ids[b], *p.seed);
  for (int64_t e = done; e < end; ++e) z[e] = last[e - done];
}

int philox_normal(const PhiloxNormalParams& p, int threads) {
  const int64_t tiles = tiles_of(p.count);
  const int64_t items = p.batch * tiles;
  if (items == 0) return kOk;
  const int team = team_size(p.batch * p.count, threads);
#pragma omp parallel for schedule(static) num_threads(team) if (team > 1)
  for (int64_t item = 0; item < items; ++item) {
    const int64_t begin = (item % tiles) * kTile;
    const int64_t end = begin + kTile < p.count ? begin + kTile : p.count;
    fill_tile(p, item / tiles, begin, end);
  }
  return kOk;
}

int philox4x32(const Philox4x32Params& p, int threads) {
  if (p.count == 0) return kOk;
  const int team = team_size(4 * p.count, threads);
#pragma omp parallel for schedule(static) num_threads(team) if (team > 1)
  for (int64_t i = 0; i < p.count; ++i) write_words(p, i);
  return kOk;
}

}  // namespace dimvida::cpu::DIMVIDA_SIMD
