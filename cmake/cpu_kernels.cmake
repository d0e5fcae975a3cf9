# The CPU kernels, compiled once per instruction set and chosen between at run time: a wheel must run on any processor
# of its architecture, so nothing is built for the machine at hand.

file(GLOB DIMVIDA_CPU_SOURCES CONFIGURE_DEPENDS RELATIVE ${CMAKE_SOURCE_DIR} csrc/cpu/*.cpp)
set(DIMVIDA_CPU_ONCE csrc/cpu/dispatch.cpp csrc/cpu/sha256.cpp)  # what is no kernel of a set
list(REMOVE_ITEM DIMVIDA_CPU_SOURCES ${DIMVIDA_CPU_ONCE} csrc/cpu/png.cpp)

find_package(OpenMP COMPONENTS CXX)
find_package(ZLIB)

function(dimvida_add_kernel_set target simd)
  add_library(kernels_${simd} OBJECT ${DIMVIDA_CPU_SOURCES})
  target_include_directories(kernels_${simd} PRIVATE csrc)
  target_compile_definitions(kernels_${simd} PRIVATE DIMVIDA_SIMD=${simd})
  target_compile_options(kernels_${simd} PRIVATE ${DIMVIDA_CXX_FLAGS} ${DIMVIDA_MATH_FLAGS}
                                                 ${DIMVIDA_OPTIMISATION} ${ARGN})
  if(OpenMP_CXX_FOUND)
    target_link_libraries(kernels_${simd} PRIVATE OpenMP::OpenMP_CXX)
  else()
    target_compile_options(kernels_${simd} PRIVATE -Wno-unknown-pragmas)
  endif()
  target_link_libraries(${target} PRIVATE kernels_${simd})
endfunction()

function(dimvida_add_cpu_kernels target)
  target_sources(${target} PRIVATE ${DIMVIDA_CPU_ONCE})
  dimvida_add_kernel_set(${target} baseline)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    dimvida_add_kernel_set(${target} avx2 -mavx2 -mfma)
    dimvida_add_kernel_set(${target} avx512 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma
                           -mprefer-vector-width=512)
    target_compile_definitions(${target} PRIVATE DIMVIDA_X86_SETS)
  endif()
  if(ZLIB_FOUND)
    target_sources(${target} PRIVATE csrc/cpu/png.cpp)
    target_compile_definitions(${target} PRIVATE DIMVIDA_WITH_ZLIB)
    target_link_libraries(${target} PRIVATE ZLIB::ZLIB)
  endif()
  if(OpenMP_CXX_FOUND)
    # PyTorch has loaded libgomp.so.1 by the time the module is imported, so both share one pool of threads.
    target_link_libraries(${target} PRIVATE OpenMP::OpenMP_CXX)
  endif()
endfunction()
