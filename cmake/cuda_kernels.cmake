# CUDA: found through CUDACXX or on PATH, compiled for a fixed list of architectures, its runtime linked statically so
# that the module imports on a machine without a GPU.

file(GLOB DIMVIDA_CUDA_SOURCES CONFIGURE_DEPENDS RELATIVE ${CMAKE_SOURCE_DIR} csrc/cuda/*.cu)

function(dimvida_find_cuda found)
  string(TOLOWER "${DIMVIDA_CUDA}" wanted)
  if(NOT wanted MATCHES "^(auto|on|off)$")
    message(FATAL_ERROR "DIMVIDA_CUDA is '${DIMVIDA_CUDA}'; it must be auto, on or off.")
  endif()
  set(${found} OFF PARENT_SCOPE)
  if(wanted STREQUAL "off")
    return()
  endif()
  if(NOT "$ENV{CUDACXX}" STREQUAL "")
    set(CMAKE_CUDA_COMPILER "$ENV{CUDACXX}" CACHE FILEPATH "CUDA compiler")
  else()
    find_program(CMAKE_CUDA_COMPILER nvcc NO_CMAKE_SYSTEM_PATH)
  endif()
  if(CMAKE_CUDA_COMPILER)
    set(${found} ON PARENT_SCOPE)
  elseif(wanted STREQUAL "on")
    message(FATAL_ERROR "DIMVIDA_CUDA=on, but nvcc was not found: install the CUDA toolkit and put nvcc on PATH, "
                        "or set DIMVIDA_CUDA=off.")
  else()
    unset(CMAKE_CUDA_COMPILER CACHE)
  endif()
endfunction()

# Machine code for data-centre and consumer GPUs from Ampere on, and PTX of the newest for what comes later.
set(DIMVIDA_DEFAULT_CUDA_ARCHS 80-real 86-real 89-real 90-real 100-real 120)

macro(dimvida_enable_cuda)
  string(REGEX REPLACE "[ ,]+" ";" CMAKE_CUDA_ARCHITECTURES "${DIMVIDA_CUDA_ARCHS}")
  if(NOT CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES ${DIMVIDA_DEFAULT_CUDA_ARCHS})
  endif()
  set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
  enable_language(CUDA)
endmacro()

function(dimvida_add_cuda_kernels target)
  add_library(kernels_cuda OBJECT ${DIMVIDA_CUDA_SOURCES})
  target_include_directories(kernels_cuda PRIVATE csrc)
  set_target_properties(kernels_cuda PROPERTIES CUDA_STANDARD 17 CUDA_STANDARD_REQUIRED ON
                                                POSITION_INDEPENDENT_CODE ON CUDA_VISIBILITY_PRESET hidden)
  # No contraction, as on the CPU; division and square root are correctly rounded by default.
  target_compile_options(kernels_cuda PRIVATE -fmad=false -Xcompiler=-Wall,-Wextra)
  if(DIMVIDA_WERROR)
    target_compile_options(kernels_cuda PRIVATE -Werror=all-warnings)
  endif()
  target_link_libraries(${target} PRIVATE kernels_cuda)
  list(JOIN CMAKE_CUDA_ARCHITECTURES " " archs)
  target_compile_definitions(${target} PRIVATE DIMVIDA_WITH_CUDA DIMVIDA_CUDA_ARCHS="${archs}"
                                               DIMVIDA_CUDA_VERSION="${CMAKE_CUDA_COMPILER_VERSION}")
endfunction()
