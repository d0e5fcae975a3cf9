// The CUDA kernels' launchers, callable from code that is not compiled by nvcc.
//
// A launcher enqueues its kernel on `stream` (a cudaStream_t of the current device) and returns the
// cudaError_t of the launch as an int, 0 for success. It never synchronises, allocates or prints. An empty
// batch launches nothing.
#pragma once

#include "core/group_norm_silu.h"
#include "core/masked_step.h"
#include "core/pack_images.h"
#include "core/philox_normal.h"

namespace dimvida::cuda {

// A step index that is no row of the table leaves every tensor as it is: a kernel cannot raise.
int group_norm_silu(const GroupNormSiluParams& params, void* stream);
int masked_step(const MaskedStepParams& params, void* stream);
int pack_images(const PackImagesParams& params, void* stream);
int philox_normal(const PhiloxNormalParams& params, void* stream);
int philox_words(const PhiloxWordsParams& params, void* stream);

// What a nonzero status means.
const char* error_string(int status);

}  // namespace dimvida::cuda
