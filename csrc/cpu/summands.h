// How the CPU kernels read a sum of core/summands.h and write its like: in runs of whole pixels of made.
// Included once per instruction set, hence everything is always inlined.
#pragma once

#include <cstdint>

#include "core/summands.h"
#include "cpu/tiles.h"

namespace dimvida::cpu {

template <class Params>
struct SumRuns {
  const Params& p;
  int64_t pixel;              // elements of a pixel
  int64_t run;                // elements at a time: as many pixels as a tile holds, or one
  float bias[kMostChannels];  // [run] repeated for each pixel

  DIMVIDA_HD_MEMBER explicit SumRuns(const Params& params) : p(params), pixel(pixel_size(params)) {
    run = pixel < kTile ? kTile / pixel * pixel : pixel;
    repeat(bias, p.bias, pixel);
  }

  // The first `count` elements again and again, as many as a run has.
  DIMVIDA_HD_MEMBER void repeat(float* to, const float* from, int64_t count) const {
    for (int64_t begin = 0; begin < run; begin += count) {
      for (int64_t i = 0; i < count; ++i) to[begin + i] = from[i];
    }
  }

  // Elements of an image of made.
  DIMVIDA_HD_MEMBER int64_t image() const { return p.made_height * p.made_width * pixel; }

  DIMVIDA_HD_MEMBER bool is_plain() const { return p.scale == 1 && p.residual_scale == 1; }

  // visit(begin, count) for the runs among elements [first, last) of an image, which are whole pixels.
  template <class Visit>
  DIMVIDA_HD_MEMBER void for_runs(int64_t first, int64_t last, Visit&& visit) const {
    for (int64_t begin = first; begin < last; begin += run) {
      visit(begin, begin + run < last ? run : last - begin);
    }
  }

  // visit(k, place) for the blocks of a run: element k of the run is the first of that place.
  template <class Visit>
  DIMVIDA_HD_MEMBER void for_blocks(int64_t begin, int64_t count, Visit&& visit) const {
    int64_t row = begin / pixel / p.made_width, column = begin / pixel % p.made_width;
    for (int64_t k = 0; k < count;) {
      for (int64_t dy = 0; dy < p.scale; ++dy) {
        for (int64_t dx = 0; dx < p.scale; ++dx, k += p.channels) {
          const Place<int64_t> at = place_of(p, row, column, dy, dx);
          if (at.exists(p)) visit(k, at);
        }
      }
      if (++column == p.made_width) column = 0, ++row;
    }
  }

  // The sums of a run of image n as float32.
  DIMVIDA_HD_MEMBER void load_sums(float* DIMVIDA_RESTRICT v, int64_t n, int64_t begin, int64_t count) const {
    load(v, p.made, p.out_dtype, n * image() + begin, count);
    for (int64_t i = 0; i < count; ++i) v[i] += bias[i];
    if (!p.residual) return;
    float other[kMostChannels];
    if (is_plain()) {
      load(other, p.residual, p.out_dtype, n * image() + begin, count);
    } else {
      for_blocks(begin, count, [&](int64_t k, Place<int64_t> at) {
        load(other + k, p.residual, p.out_dtype, residual_at(p, n, at), p.channels);
      });
    }
    for (int64_t i = 0; i < count; ++i) v[i] += other[i];
  }

  // Writes a run of image n to out or total.
  DIMVIDA_HD_MEMBER void store_run(void* to, const float* v, int64_t n, int64_t begin, int64_t count) const {
    if (p.scale == 1) {
      store(to, v, p.out_dtype, n * image() + begin, count);
    } else {
      for_blocks(begin, count, [&](int64_t k, Place<int64_t> at) {
        store(to, v + k, p.out_dtype, out_at(p, n, at), p.channels);
      });
    }
  }
};

}  // namespace dimvida::cpu
