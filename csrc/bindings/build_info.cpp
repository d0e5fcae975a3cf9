// What this build of the native module is.
#include <pybind11/pybind11.h>

#include "cpu/kernels.h"
#if defined(DIMVIDA_WITH_ZLIB)
#include "cpu/png.h"
#endif

namespace py = pybind11;

namespace dimvida {

#if defined(__clang__)
static constexpr const char* kCompiler = "clang " __clang_version__;
#elif defined(__GNUC__)
static constexpr const char* kCompiler = "gcc " __VERSION__;
#else
static constexpr const char* kCompiler = "unknown";
#endif

// A dict of: version, compiler, cuda (bool), cuda_version, cuda_archs, simd_compiled, simd_supported, simd,
// openmp, zlib (its version or None), and of the test builds: cuda_on_host (bool), sanitized (bool).
py::dict build_info() {
  py::dict info;
  info["version"] = DIMVIDA_VERSION;
  info["compiler"] = kCompiler;
#if defined(DIMVIDA_WITH_CUDA) && !defined(DIMVIDA_CUDA_ON_HOST)
  info["cuda"] = true;
  info["cuda_version"] = DIMVIDA_CUDA_VERSION;
  info["cuda_archs"] = py::str(DIMVIDA_CUDA_ARCHS).attr("split")(" ");
#else
  info["cuda"] = false;
  info["cuda_version"] = py::none();
  info["cuda_archs"] = py::list();
#endif
#if defined(DIMVIDA_CUDA_ON_HOST)
  info["cuda_on_host"] = true;
#else
  info["cuda_on_host"] = false;
#endif
#if defined(DIMVIDA_SANITIZED)
  info["sanitized"] = true;
#else
  info["sanitized"] = false;
#endif

  int count = 0;
  const cpu::KernelSet* const* sets = cpu::compiled_kernel_sets(&count);
  py::list compiled, supported;
  for (int i = 0; i < count; ++i) {
    compiled.append(sets[i]->name);
    if (cpu::is_supported(*sets[i])) supported.append(sets[i]->name);
  }
  info["simd_compiled"] = compiled;
  info["simd_supported"] = supported;
  info["simd"] = cpu::best_kernel_set().name;
#if defined(_OPENMP)
  info["openmp"] = true;
#else
  info["openmp"] = false;
#endif
#if defined(DIMVIDA_WITH_ZLIB)
  info["zlib"] = cpu::version_of_zlib();
#else
  info["zlib"] = py::none();
#endif
  return info;
}

}  // namespace dimvida
