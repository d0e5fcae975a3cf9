// Launches of the noise kernels.
#include "cuda/philox_normal.cuh"

#include "cuda/launch.h"
#include "cuda/launchers.h"

namespace dimvida::cuda {

int philox_normal(const PhiloxNormalParams& p, void* stream) {
  const int64_t items = p.batch * ((p.count + 3) / 4);
  if (items == 0) return cudaSuccess;
  return launch(philox_normal_kernel, blocks_for(items), kBlockThreads, 0, stream, p);
}

int philox_words(const PhiloxWordsParams& p, void* stream) {
  if (p.count == 0) return cudaSuccess;
  return launch(philox_words_kernel, blocks_for(p.count), kBlockThreads, 0, stream, p);
}

}  // namespace dimvida::cuda
