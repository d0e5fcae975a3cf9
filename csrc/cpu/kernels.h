// The CPU kernels, one set per instruction set, and the choice between them at run time.
#pragma once

#include "core/kernels.h"

namespace dimvida::cpu {

enum Status : int {
  kOk = 0,
  kStepOutOfRange = 1,  // the step index is out of range; nothing was changed
};

// One compiled copy of every kernel. They return a Status. All copies give the same bits, and so does any
// number of threads.
struct KernelSet {
  const char* name;
#define DIMVIDA_MEMBER(kernel, Params) int (*kernel)(const Params& params, int threads);
  DIMVIDA_CPU_KERNELS(DIMVIDA_MEMBER)
#undef DIMVIDA_MEMBER
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
