// Bytes to patches and back on the CPU.
#include "core/patches.h"

#include <cstring>

#include "cpu/tiles.h"

namespace dimvida::cpu::DIMVIDA_SIMD {

// A row of patches, each gathered as it stands in memory.
static void unpack_row(const ImagesToPatchesParams& p, int64_t n, int64_t row) {
  float v[kTile];
  const int64_t size = p.patch * p.patch * p.colours;
  for (int64_t column = 0; column < p.columns; ++column) {
    const uint8_t* corner =
        p.images + n * p.batch_stride + row * p.patch * p.height_stride + column * p.patch * p.width_stride;
    const int64_t first = ((n * p.rows + row) * p.columns + column) * size;
    for (int64_t dy = 0; dy < p.patch; ++dy) {
      for (int64_t c = 0; c < p.colours; ++c) {
        const uint8_t* line = corner + dy * p.height_stride + c * p.colour_stride;
        float* to = v + dy * p.patch * p.colours + c;
        for (int64_t dx = 0; dx < p.patch; ++dx) to[dx * p.colours] = line[dx * p.width_stride];
      }
    }
    store(p.patches, v, p.patches_dtype, first, size);
  }
}

int images_to_patches(const ImagesToPatchesParams& p, int threads) {
  const int64_t lines = p.batch * p.rows;
  const int team = team_size(lines * p.columns * p.patch * p.patch * p.colours, threads);
#pragma omp parallel for schedule(static) num_threads(team) if (team > 1)
  for (int64_t line = 0; line < lines; ++line) unpack_row(p, line / p.rows, line % p.rows);
  return kOk;
}

static void to_levels(uint8_t* DIMVIDA_RESTRICT levels, const float* DIMVIDA_RESTRICT v, int64_t count) {
  for (int64_t i = 0; i < count; ++i) levels[i] = level_of(v[i]);
}

// Adds the bias, and says whether all was finite.
static bool add_bias(float* DIMVIDA_RESTRICT v, const float* DIMVIDA_RESTRICT bias, int64_t count) {
  uint32_t infinite = 0;
  for (int64_t i = 0; i < count; ++i) {
    v[i] += bias[i];
    infinite |= is_finite(v[i]) ? 0u : 1u;
  }
  return infinite == 0;
}

static void pack_image(const PatchesToImagesParams& p, int64_t n) {
  float v[kTile];
  uint8_t levels[kTile];
  const int64_t run = p.patch * p.colours, size = p.patch * run;
  bool finite = true;
  for (int64_t row = 0; row < p.rows; ++row) {
    for (int64_t column = 0; column < p.columns; ++column) {
      load(v, p.patches, p.patches_dtype, ((n * p.rows + row) * p.columns + column) * size, size);
      finite = add_bias(v, p.bias, size) && finite;
      to_levels(levels, v, size);
      for (int64_t dy = 0; dy < p.patch; ++dy) {
        const int64_t line = (n * p.rows + row) * p.patch + dy;
        std::memcpy(p.images + (line * p.columns + column) * run, levels + dy * run,
                    static_cast<std::size_t>(run));
      }
    }
  }
  p.finite[n] = finite;
}

int patches_to_images(const PatchesToImagesParams& p, int threads) {
  const int team = team_size(p.batch * p.rows * p.columns * p.patch * p.patch * p.colours, threads);
#pragma omp parallel for schedule(static) num_threads(team) if (team > 1)
  for (int64_t n = 0; n < p.batch; ++n) pack_image(p, n);
  return kOk;
}

}  // namespace dimvida::cpu::DIMVIDA_SIMD
