// Launches of the noise kernels.
#include "cuda/philox_normal.cuh"

#include <cuda_runtime_api.h>

#include "cuda/launchers.h"

namespace dimvida::cuda {

int philox_normal(const PhiloxNormalParams& p, void* stream) {
  const int64_t items = p.batch * ((p.count + 3) / 4);
  if (items == 0) return cudaSuccess;
  philox_normal_kernel<<<blocks_for(items), kBlockThreads, 0, static_cast<cudaStream_t>(stream)>>>(p);
  return cudaGetLastError();
}

int philox_words(const PhiloxWordsParams& p, void* stream) {
  if (p.count == 0) return cudaSuccess;
  philox_words_kernel<<<blocks_for(p.count), kBlockThreads, 0, static_cast<cudaStream_t>(stream)>>>(p);
  return cudaGetLastError();
}

}  // namespace dimvida::cuda
