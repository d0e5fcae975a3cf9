// Images to tiles and back on the CPU, many channels at a time.
#include "core/winograd.h"

#include <algorithm>
#include <cstring>

#include "cpu/tiles.h"

namespace dimvida::cpu::DIMVIDA_SIMD {

namespace {

constexpr int64_t kChannels = 64;  // at a time: a tile of them stays in the L1 cache

// A tile's place: its image, its first row and column of results, and its number.
struct Place {
  int64_t n, y, x, number;

  template <class Params>
  Place(const Params& p, int64_t number) : number(number) {
    const int64_t across = (p.width + kTilePixels - 1) / kTilePixels;
    const int64_t down = (p.height + kTilePixels - 1) / kTilePixels;
    n = number / (down * across);
    y = number / across % down * kTilePixels;
    x = number % across * kTilePixels;
  }
};

template <class Params>
int64_t tiles_in(const Params& p) {
  const int64_t edge = kTilePixels - 1;
  return p.batch * ((p.height + edge) / kTilePixels) * ((p.width + edge) / kTilePixels);
}

// B^T, which gives six numbers, or A^T, which gives four, along lines of six numbers that lie `step` apart, for `count`
// channels.
template <int kResults, class Transform>
inline void lines(float* DIMVIDA_RESTRICT out, int64_t out_step, const float* DIMVIDA_RESTRICT in,
                  int64_t step, int64_t count, Transform transform) {
  for (int64_t c = 0; c < count; ++c) {
    const float d[6] = {in[c],           in[step + c], in[2 * step + c], in[3 * step + c], in[4 * step + c],
                        in[5 * step + c]};
    float t[kResults];
    transform(d, t);
    for (int i = 0; i < kResults; ++i) out[i * out_step + c] = t[i];
  }
}

inline void lines_in(float* out, int64_t out_step, const float* in, int64_t step, int64_t count) {
  lines<6>(out, out_step, in, step, count, [](const float (&d)[6], float (&t)[6]) { winograd_in(d, t); });
}

inline void lines_out(float* out, int64_t out_step, const float* in, int64_t step, int64_t count) {
  lines<4>(out, out_step, in, step, count, [](const float (&m)[6], float (&y)[4]) { winograd_out(m, y); });
}

void tile_of(const ImagesToTilesParams& p, const Place& at, int64_t first, int64_t count) {
  float d[kTileEdge * kTileEdge * kChannels], t[kTileEdge * kTileEdge * kChannels];
  for (int i = 0; i < kTileEdge; ++i) {
    for (int j = 0; j < kTileEdge; ++j) {
      const int64_t y = at.y + i - 1, x = at.x + j - 1;
      float* to = d + (i * kTileEdge + j) * kChannels;
      if (y < 0 || y >= p.height || x < 0 || x >= p.width) {
        std::memset(to, 0, static_cast<std::size_t>(count) * sizeof(float));
      } else {
        load(to, p.images, p.images_dtype, ((at.n * p.height + y) * p.width + x) * p.channels + first, count);
      }
    }
  }
  const int64_t down = kTileEdge * kChannels, plane = p.rows * p.channels;
  for (int j = 0; j < kTileEdge; ++j) lines_in(t + j * kChannels, down, d + j * kChannels, down, count);
  float* tile = p.tiles + at.number * p.channels + first;
  for (int i = 0; i < kTileEdge; ++i) {
    lines_in(tile + i * kTileEdge * plane, plane, t + i * down, kChannels, count);
  }
}

void pixels_of(const TilesToImagesParams& p, const Place& at, int64_t first, int64_t count) {
  float t[kTilePixels * kTileEdge * kChannels], v[kTilePixels * kChannels];
  const int64_t down = kTileEdge * kChannels, plane = p.rows * p.channels;
  const float* tile = p.tiles + at.number * p.channels + first;
  for (int j = 0; j < kTileEdge; ++j) {
    lines_out(t + j * kChannels, down, tile + j * plane, kTileEdge * plane, count);
  }
  for (int64_t i = 0; i < std::min<int64_t>(kTilePixels, p.height - at.y); ++i) {
    lines_out(v, kChannels, t + i * down, kChannels, count);
    for (int64_t j = 0; j < std::min<int64_t>(kTilePixels, p.width - at.x); ++j) {
      const int64_t pixel = (at.n * p.height + at.y + i) * p.width + at.x + j;
      store(p.images, v + j * kChannels, p.images_dtype, pixel * p.channels + first, count);
    }
  }
}

template <class Params, class Work>
int each_tile(const Params& p, int threads, Work work) {
  const int64_t tiles = tiles_in(p);
  const int team = team_size(kTileEdge * kTileEdge * tiles * p.channels, threads);
#pragma omp parallel for schedule(static) num_threads(team) if (team > 1)
  for (int64_t number = 0; number < tiles; ++number) {
    const Place at(p, number);
    for (int64_t first = 0; first < p.channels; first += kChannels) {
      work(p, at, first, std::min(kChannels, p.channels - first));
    }
  }
  return kOk;
}

}  // namespace

int images_to_tiles(const ImagesToTilesParams& p, int threads) { return each_tile(p, threads, tile_of); }

int tiles_to_images(const TilesToImagesParams& p, int threads) { return each_tile(p, threads, pixels_of); }

}  // namespace dimvida::cpu::DIMVIDA_SIMD
