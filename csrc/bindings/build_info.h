// What this build of the native module is.
#pragma once

#include <pybind11/pybind11.h>

namespace dimvida {

// A dict of: version, compiler, cuda (bool), cuda_version, cuda_archs, simd_compiled, simd_supported, simd,
// openmp, and of the test builds: cuda_on_host (bool), sanitized (bool).
pybind11::dict build_info();

}  // namespace dimvida
