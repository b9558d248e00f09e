# kd_library(NAME SRCS a.cc DEPS kd::base PRIVATE_DEPS kd::torch)
#   a static library kd_NAME with the alias kd::NAME; include paths start at the root of the project.
# kd_binary(NAME SRCS main.cc DEPS ...)
#   an executable bin/NAME.
# kd_test(NAME SRCS x_test.cc DEPS ... [LABELS ...])
#   a GoogleTest program, registered with ctest under NAME.
function(kd_compile_options target)
  # GCC 12 suspects absl::StatusOr's storage of being uninitialised wherever it inlines enough.
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wno-unused-parameter -Wno-missing-field-initializers
    $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
  if(KD_WERROR)
    target_compile_options(${target} PRIVATE -Werror)
  endif()
  if(KD_SANITIZE)
    target_compile_options(${target} PRIVATE -fsanitize=${KD_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=undefined)
    target_link_options(${target} PRIVATE -fsanitize=${KD_SANITIZE})
  endif()
endfunction()

function(kd_library name)
  cmake_parse_arguments(ARG "" "" "SRCS;DEPS;PRIVATE_DEPS" ${ARGN})
  add_library(kd_${name} STATIC ${ARG_SRCS})
  add_library(kd::${name} ALIAS kd_${name})
  target_include_directories(kd_${name} PUBLIC "${PROJECT_SOURCE_DIR}")
  target_link_libraries(kd_${name} PUBLIC ${ARG_DEPS} PRIVATE ${ARG_PRIVATE_DEPS})
  kd_compile_options(kd_${name})
endfunction()

function(kd_binary name)
  cmake_parse_arguments(ARG "" "" "SRCS;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SRCS})
  target_include_directories(${name} PRIVATE "${PROJECT_SOURCE_DIR}")
  target_link_libraries(${name} PRIVATE ${ARG_DEPS})
  kd_compile_options(${name})
endfunction()

function(kd_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SRCS;DEPS;LABELS" ${ARGN})
  add_executable(${name} ${ARG_SRCS})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/tests")
  target_include_directories(${name} PRIVATE "${PROJECT_SOURCE_DIR}")
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} kd::test_main)
  kd_compile_options(${name})
  add_test(NAME ${name} COMMAND ${name})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  set_tests_properties(${name} PROPERTIES TIMEOUT ${ARG_TIMEOUT} LABELS "${ARG_LABELS}"
    SKIP_RETURN_CODE 77
    # Passive: threads that spin for one another come to a crawl where tests share cores.
    ENVIRONMENT "KD_SOURCE_DIR=${PROJECT_SOURCE_DIR};KD_BIN_DIR=${CMAKE_BINARY_DIR}/bin;OMP_WAIT_POLICY=passive")
endfunction()
