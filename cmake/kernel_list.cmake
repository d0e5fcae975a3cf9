# The list of all kernels, made of the lines in csrc/core that declare them (csrc/core/params.h says how): kernel_list.h
# in the build folder has a macro with KERNEL(name, Struct) for each kernel of the CPU, and one for each of CUDA.

file(GLOB headers CONFIGURE_DEPENDS RELATIVE ${CMAKE_SOURCE_DIR}/csrc csrc/core/*.h)
foreach(header ${headers})
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS csrc/${header})
  file(STRINGS csrc/${header} lines REGEX "^DIMVIDA_(CPU_)?KERNEL")
  foreach(line ${lines})
    if(NOT line MATCHES "^DIMVIDA_(CPU_)?KERNEL\\(([a-z0-9_]+), ([A-Za-z0-9]+), [A-Z0-9_]+\\);$")
      message(FATAL_ERROR "csrc/${header}: a kernel is declared by DIMVIDA_KERNEL(name, Struct, LIST); on one line")
    endif()
    string(APPEND on_cpu " KERNEL(${CMAKE_MATCH_2}, ${CMAKE_MATCH_3})")
    if(NOT CMAKE_MATCH_1)
      string(APPEND on_cuda " KERNEL(${CMAKE_MATCH_2}, ${CMAKE_MATCH_3})")
    endif()
    list(APPEND includes "#include \"${header}\"\n")
  endforeach()
endforeach()
list(REMOVE_DUPLICATES includes)
list(JOIN includes "" includes)

set(DIMVIDA_GENERATED ${CMAKE_BINARY_DIR}/generated)
file(CONFIGURE OUTPUT ${DIMVIDA_GENERATED}/kernel_list.h CONTENT "#pragma once
@includes@
#define DIMVIDA_CPU_KERNELS(KERNEL)@on_cpu@
#define DIMVIDA_CUDA_KERNELS(KERNEL)@on_cuda@
" @ONLY)
