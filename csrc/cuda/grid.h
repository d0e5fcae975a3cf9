// Launch shapes of the elementwise kernels.
#pragma once

#include <cstdint>

namespace dimvida::cuda {

constexpr int kBlockThreads = 256;

// Blocks for `items` threads, capped: the kernels stride over what is left.
inline unsigned int blocks_for(int64_t items) {
  constexpr int64_t most = int64_t{1} << 20;
  const int64_t blocks = (items + kBlockThreads - 1) / kBlockThreads;
  return static_cast<unsigned int>(blocks < most ? blocks : most);
}

}  // namespace dimvida::cuda
