// How the CPU kernels cut a batch into pieces, and how a piece is read, written and drawn. Included once per
// instruction set, hence everything is always inlined.
#pragma once

#include <cstdint>

#include "core/dtype.h"
#include "core/noise.h"
#include "core/portable.h"

namespace dimvida::cpu {

// Elements of one sample that are worked on at a time: a multiple of 4, so that a tile starts on a whole quad
// of normals, and few enough for the scratch arrays to stay in the L1 cache.
constexpr int64_t kTile = 1024;

// Below this many elements waking threads costs more than they save.
constexpr int64_t kSerialElements = 32 * 1024;

DIMVIDA_HD int64_t tiles_of(int64_t count) { return (count + kTile - 1) / kTile; }

// Either all threads that PyTorch uses or none: a team of varying size would make the OpenMP runtime that
// both share start and stop threads at every call.
DIMVIDA_HD int team_size(int64_t elements, int threads) { return elements < kSerialElements ? 1 : threads; }

// Elements first .. first + count - 1 of any floating type as float32.
DIMVIDA_HD void load(float* DIMVIDA_RESTRICT to, const void* from, DType dtype, int64_t first,
                     int64_t count) {
  if (dtype == DType::kFloat32) {
    const float* source = static_cast<const float*>(from) + first;
    for (int64_t i = 0; i < count; ++i) to[i] = source[i];
  } else if (dtype == DType::kBFloat16) {
    const uint16_t* source = static_cast<const uint16_t*>(from) + first;
    for (int64_t i = 0; i < count; ++i) to[i] = float_from_bfloat16(source[i]);
  } else {
    const uint16_t* source = static_cast<const uint16_t*>(from) + first;
    for (int64_t i = 0; i < count; ++i) to[i] = float_from_float16(source[i]);
  }
}

// Float32 as elements of any floating type.
DIMVIDA_HD void store(void* to, const float* DIMVIDA_RESTRICT from, DType dtype, int64_t first,
                      int64_t count) {
  if (dtype == DType::kFloat32) {
    float* target = static_cast<float*>(to) + first;
    for (int64_t i = 0; i < count; ++i) target[i] = from[i];
  } else if (dtype == DType::kBFloat16) {
    uint16_t* target = static_cast<uint16_t*>(to) + first;
    for (int64_t i = 0; i < count; ++i) target[i] = bfloat16_from_float(from[i]);
  } else {
    uint16_t* target = static_cast<uint16_t*>(to) + first;
    for (int64_t i = 0; i < count; ++i) target[i] = float16_from_float(from[i]);
  }
}

// Normals 4 * first_quad .. 4 * (first_quad + quads) - 1 of one sample into z.
DIMVIDA_HD void draw_normals(float* DIMVIDA_RESTRICT z, int64_t first_quad, int64_t quads, uint32_t draw,
                             int64_t sample_id, int64_t seed) {
  const PhiloxKey key = philox_key(seed);
  const uint32_t first = static_cast<uint32_t>(first_quad);
  const int32_t count = static_cast<int32_t>(quads);
  for (int32_t i = 0; i < count; ++i) {
    const Words4 counter = noise_counter(first + static_cast<uint32_t>(i), draw, sample_id);
    const Normals4 normals = normals_of(philox_words(counter, key));
    z[4 * i + 0] = normals.z0;
    z[4 * i + 1] = normals.z1;
    z[4 * i + 2] = normals.z2;
    z[4 * i + 3] = normals.z3;
  }
}

}  // namespace dimvida::cpu
