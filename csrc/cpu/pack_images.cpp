// Packing of images to bytes on the CPU.
#include "core/pack_images.h"

#include "cpu/tiles.h"

namespace dimvida::cpu::DIMVIDA_SIMD {

static void to_levels(uint8_t* DIMVIDA_RESTRICT levels, const float* DIMVIDA_RESTRICT v, int64_t count) {
  for (int64_t i = 0; i < count; ++i) levels[i] = level_of(v[i]);
}

// Elements `first`, `first + stride`, ... as float32.
static void gather(float* to, const PackImagesParams& p, int64_t first, int64_t stride, int64_t count) {
  if (stride == 1) {
    load(to, p.images, p.images_dtype, first, count);
  } else {
    for (int64_t i = 0; i < count; ++i) load(to + i, p.images, p.images_dtype, first + i * stride, 1);
  }
}

// Pixels [begin, end) of a row, at most a tile.
static void pack_run(const PackImagesParams& p, int64_t n, int64_t y, int64_t begin, int64_t end) {
  float v[kTile];
  uint8_t levels[kTile];
  const int64_t count = end - begin;
  const int64_t first = n * p.batch_stride + y * p.height_stride + begin * p.width_stride;
  uint8_t* out = p.packed + ((n * p.height + y) * p.width + begin) * p.channels;
  for (int64_t c = 0; c < p.channels; ++c) {
    gather(v, p, first + c * p.channel_stride, p.width_stride, count);
    to_levels(levels, v, count);
    for (int64_t i = 0; i < count; ++i) out[i * p.channels + c] = levels[i];
  }
}

// A row whose pixels already lie as they shall: channels last, without gaps.
static void pack_packed_row(const PackImagesParams& p, int64_t n, int64_t y) {
  float v[kTile];
  const int64_t elements = p.width * p.channels;
  const int64_t first = n * p.batch_stride + y * p.height_stride;
  uint8_t* out = p.packed + (n * p.height + y) * elements;
  for (int64_t begin = 0; begin < elements; begin += kTile) {
    const int64_t count = begin + kTile < elements ? kTile : elements - begin;
    load(v, p.images, p.images_dtype, first + begin, count);
    to_levels(out + begin, v, count);
  }
}

int pack_images(const PackImagesParams& p, int threads) {
  const int64_t lines = p.batch * p.height;
  const bool packed = p.channel_stride == 1 && p.width_stride == p.channels;
  const int team = team_size(lines * p.width * p.channels, threads);
#pragma omp parallel for schedule(static) num_threads(team) if (team > 1)
  for (int64_t line = 0; line < lines; ++line) {
    const int64_t n = line / p.height, y = line % p.height;
    if (packed) {
      pack_packed_row(p, n, y);
      continue;
    }
    for (int64_t begin = 0; begin < p.width; begin += kTile) {
      pack_run(p, n, y, begin, begin + kTile < p.width ? begin + kTile : p.width);
    }
  }
  return kOk;
}

}  // namespace dimvida::cpu::DIMVIDA_SIMD
