// The kernels, each declared by one line with its parameter struct, which is a list of its fields.
//
// DIMVIDA_KERNEL(name, Struct, LIST) declares the kernel of the op of that name on the CPU, cpu/*.cpp, and on
// the GPU, cuda/*.cu; DIMVIDA_CPU_KERNEL one that only the CPU has: on a GPU its op is what PyTorch makes of
// it. From these lines, which stand in the files beside this one, cmake/kernel_list.cmake makes what
// dispatches and binds the kernels.
//
// A list applies a macro FIELD(kind, type, name, extent) to every field. From it come the struct that a
// kernel takes, the Python class that fills it by name (bindings/params.h) and the refusal of tensors that
// share memory with one that is written (bindings/overlap.h). The kinds are
//
//   WRITTEN   the address of a tensor that the kernel writes
//   IN_PLACE  of one that is read element by element before the same place is written: it may be a written
//             tensor
//   READ      of one that is only read
//   NUMBER    a size, a stride, a scalar or the type of a tensor; it has no extent
//
// `extent` says how much memory a tensor takes: run(elements), or matrix(rows, columns, stride) for rows that
// lie apart. Where the type is void, the DType of the elements follows in it.
#pragma once

#include <cstdint>

#include "core/dtype.h"
#include "core/portable.h"

namespace dimvida {

// Rows of `columns` elements, each row `stride` elements behind the one before. `element` is the size of an
// element in bytes, 0 for that of the field's type.
struct Extent {
  int64_t rows, columns, stride, element;
};

DIMVIDA_HD Extent run(int64_t count) { return {1, count, count, 0}; }
DIMVIDA_HD Extent run(int64_t count, DType dtype) { return {1, count, count, bytes_of(dtype)}; }
DIMVIDA_HD Extent matrix(int64_t rows, int64_t columns, int64_t stride, DType dtype) {
  return {rows, columns, stride, bytes_of(dtype)};
}

// n / parts; 0 where there are no parts, as in the struct of zeros that a list of fields is read from.
DIMVIDA_HD int64_t divided(int64_t n, int64_t parts) { return parts == 0 ? 0 : n / parts; }

enum class Access { kWritten, kInPlace, kRead };

namespace cpu {

enum Status : int {
  kOk = 0,
  kStepOutOfRange = 1,  // the step index is out of range; nothing was changed
};

}  // namespace cpu

}  // namespace dimvida

#define DIMVIDA_DECLARE_FIELD(kind, type, ...) DIMVIDA_DECLARE_##kind(type, __VA_ARGS__, )
#define DIMVIDA_DECLARE_WRITTEN(type, name, ...) type* name;
#define DIMVIDA_DECLARE_IN_PLACE(type, name, ...) const type* name;
#define DIMVIDA_DECLARE_READ(type, name, ...) const type* name;
#define DIMVIDA_DECLARE_NUMBER(type, name, ...) type name;

#define DIMVIDA_VISIT_FIELD(kind, type, ...) DIMVIDA_VISIT_##kind(__VA_ARGS__)
#define DIMVIDA_VISIT_WRITTEN(name, ...) visitor.tensor(#name, name, Access::kWritten, __VA_ARGS__);
#define DIMVIDA_VISIT_IN_PLACE(name, ...) visitor.tensor(#name, name, Access::kInPlace, __VA_ARGS__);
#define DIMVIDA_VISIT_READ(name, ...) visitor.tensor(#name, name, Access::kRead, __VA_ARGS__);
#define DIMVIDA_VISIT_NUMBER(name) visitor.number(#name, name);

// The struct `Struct`. Its `visit` calls visitor.tensor(name, address, access, extent) and
// visitor.number(name, value) for all fields in order. The kernel of a CPU is
// `int name(const Struct&, int threads)` in the namespace of its instruction set and returns a cpu::Status.
#define DIMVIDA_CPU_KERNEL(name, Struct, FIELDS) \
  struct Struct {                                \
    FIELDS(DIMVIDA_DECLARE_FIELD)                \
    template <class Visitor>                     \
    void visit(Visitor&& visitor) {              \
      FIELDS(DIMVIDA_VISIT_FIELD)                \
    }                                            \
  }

// And the launcher, which enqueues the kernel on `stream` (a cudaStream_t of the current device) and returns
// the cudaError_t of the launch as an int, 0 for success. It never synchronises, allocates or prints. An
// empty batch launches nothing, and a step index out of range leaves every tensor as it is: a kernel cannot
// raise.
#define DIMVIDA_KERNEL(name, Struct, FIELDS)    \
  DIMVIDA_CPU_KERNEL(name, Struct, FIELDS);     \
  namespace cuda {                              \
  int name(const Struct& params, void* stream); \
  }                                             \
  static_assert(true, "so that a semicolon may follow")
