# Test builds: the CUDA sources as C++ for the host, against the stand-in for the CUDA runtime in tests/cuda_on_host,
# and a second module that runs their kernels past the launchers.

function(dimvida_add_cuda_on_host target)
  set(folder tests/cuda_on_host)
  set(flags ${DIMVIDA_CXX_FLAGS} ${DIMVIDA_MATH_FLAGS} ${DIMVIDA_OPTIMISATION} -Wno-unknown-pragmas)
  set(as_nvcc -include cuda_runtime.h)  # which nvcc includes before everything else

  add_library(cuda_on_host STATIC ${folder}/src/fiber.cpp ${folder}/src/grid.cpp)
  # The switch of stacks returns to where it was not called from.
  target_compile_options(cuda_on_host PRIVATE ${flags} -fcf-protection=none)
  target_include_directories(cuda_on_host PUBLIC ${folder}/include csrc)

  set_source_files_properties(${DIMVIDA_CUDA_SOURCES} PROPERTIES LANGUAGE CXX)
  add_library(kernels_cuda_on_host OBJECT ${DIMVIDA_CUDA_SOURCES})
  target_compile_options(kernels_cuda_on_host PRIVATE ${flags} ${as_nvcc})
  target_link_libraries(kernels_cuda_on_host PRIVATE cuda_on_host)
  target_link_libraries(${target} PRIVATE kernels_cuda_on_host cuda_on_host)
  target_compile_definitions(${target} PRIVATE DIMVIDA_WITH_CUDA DIMVIDA_CUDA_ON_HOST)

  pybind11_add_module(kernels_on_host ${folder}/src/module.cpp)
  target_compile_options(kernels_on_host PRIVATE ${flags} ${as_nvcc})
  target_link_libraries(kernels_on_host PRIVATE cuda_on_host)
endfunction()
