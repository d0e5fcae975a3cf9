# What a build can be told, and the flags that every native source shares.

set(DIMVIDA_CUDA "auto" CACHE STRING "Build the CUDA kernels: auto (when nvcc is found), on or off")
set_property(CACHE DIMVIDA_CUDA PROPERTY STRINGS auto on off)
set(DIMVIDA_CUDA_ARCHS "" CACHE STRING "CUDA architectures as CMake names them; empty for the default list")
set(DIMVIDA_VERSION "0.0.0" CACHE STRING "Version of the package, set by setup.py")
option(DIMVIDA_WERROR "Treat compiler warnings as errors" OFF)
option(DIMVIDA_SANITIZE "For tests: build with AddressSanitizer and UndefinedBehaviorSanitizer" OFF)
option(DIMVIDA_CUDA_ON_HOST "For tests: compile the CUDA sources for the host, without nvcc" OFF)

set(DIMVIDA_CXX_FLAGS -Wall -Wextra)
if(DIMVIDA_WERROR)
  list(APPEND DIMVIDA_CXX_FLAGS -Werror)
endif()

# Results must not depend on what the compiler fuses; where one rounding is wanted, the source says so. The other two
# change no result: nothing reads errno or floating-point exceptions, and loops with sqrt and selects vectorise.
set(DIMVIDA_MATH_FLAGS -ffp-contract=off -fno-math-errno -fno-trapping-math)

set(DIMVIDA_OPTIMISATION -O3)
