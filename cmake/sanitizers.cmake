# Test builds: everything under AddressSanitizer and UndefinedBehaviorSanitizer, for scripts/sanitize. Python has to be
# started with the sanitizer's library loaded first.

if(DIMVIDA_SANITIZE)
  if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    message(FATAL_ERROR "DIMVIDA_SANITIZE=ON is set up for GCC, not for ${CMAKE_CXX_COMPILER_ID}.")
  endif()
  set(DIMVIDA_OPTIMISATION -O1 -g1 -fno-omit-frame-pointer)
  # A conversion of a number out of range is undefined too, but not part of "undefined".
  set(sanitize -fsanitize=address,undefined,float-cast-overflow -fno-sanitize-recover=all)
  add_compile_options(${sanitize})
  add_link_options(${sanitize})
  add_compile_definitions(DIMVIDA_SANITIZED)
endif()
