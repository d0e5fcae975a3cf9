// The CUDA kernels' launchers, callable from code that is not compiled by nvcc.
//
// A launcher enqueues its kernel on `stream` (a cudaStream_t of the current device) and returns the
// cudaError_t of the launch as an int, 0 for success. It never synchronises, allocates or prints. An empty
// batch launches nothing.
#pragma once

#include "core/kernels.h"

namespace dimvida::cuda {

// A step index out of range leaves every tensor as it is: a kernel cannot raise.
#define DIMVIDA_LAUNCHER(kernel, Params) int kernel(const Params& params, void* stream);
DIMVIDA_KERNELS(DIMVIDA_LAUNCHER)
#undef DIMVIDA_LAUNCHER

// What a nonzero status means.
const char* error_string(int status);

}  // namespace dimvida::cuda
