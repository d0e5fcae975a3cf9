// The CPU kernels, one set per instruction set, and the choice between them at run time.
#pragma once

#include "core/group_norm_silu.h"
#include "core/masked_step.h"
#include "core/pack_images.h"
#include "core/philox_normal.h"

namespace dimvida::cpu {

enum Status : int {
  kOk = 0,
  kStepOutOfRange = 1,  // the step index is no row of the table; nothing was changed
};

// One compiled copy of every kernel. They return a Status. All copies give the same bits, and so does any
// number of threads.
struct KernelSet {
  const char* name;
  int (*group_norm_silu)(const GroupNormSiluParams& params, int threads);
  int (*masked_step)(const MaskedStepParams& params, int threads);
  int (*pack_images)(const PackImagesParams& params, int threads);
  int (*philox_normal)(const PhiloxNormalParams& params, int threads);
  int (*philox_words)(const PhiloxWordsParams& params, int threads);
};

// The sets in the library, plainest first, and how many there are.
const KernelSet* const* compiled_kernel_sets(int* count);

// Whether this processor can run a set.
bool is_supported(const KernelSet& set);

// The best set that this processor can run.
const KernelSet& best_kernel_set();

// The set of that name if it is compiled and supported, else null.
const KernelSet* find_kernel_set(const char* name);

}  // namespace dimvida::cpu
