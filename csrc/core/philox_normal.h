// Noise tensors and raw random words.
#pragma once

#include <cstdint>

namespace dimvida {

struct PhiloxNormalParams {
  float* z;                   // [batch, count] filled with standard normals
  const int64_t* sample_ids;  // [batch] identity of each sample, the upper half of its noise counter
  const int64_t* seed;        // [1] key of the noise
  int64_t batch;              // number of samples, may be 0
  int64_t count;              // normals of a sample, <= 2^34
  uint32_t draw;              // number of this noise tensor within the trajectory
};

struct PhiloxWordsParams {
  const int64_t* counters;  // [count, 4] counter words, the low 32 bits of each
  const int64_t* key;       // [2] key words, the low 32 bits of each
  int64_t* words;           // [count, 4] the generator's output, each in [0, 2^32)
  int64_t count;            // number of counters, may be 0
};

}  // namespace dimvida
