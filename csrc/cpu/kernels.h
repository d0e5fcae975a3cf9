// The CPU kernels, one set per instruction set, and the choice between them at run time.
#pragma once

#include "kernel_list.h"  // made by cmake/kernel_list.cmake

namespace dimvida::cpu {

// One compiled copy of every kernel. All copies give the same bits, and so does any number of
// threads.
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
