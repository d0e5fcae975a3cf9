// The structs start empty, and Python sets each field by name. They can be launched many times: what changes
// from step to step lies in the tensors.
#include "bindings/params.h"

#include <cstdint>

#include "core/group_norm_silu.h"
#include "core/masked_step.h"
#include "core/pack_images.h"
#include "core/philox_normal.h"

namespace py = pybind11;

namespace dimvida {
namespace {

template <class Params>
struct Fields {
  py::class_<Params> python;

  Fields(py::module_& m, const char* name) : python(m, name) {
    python.def(py::init([] { return Params{}; }));
  }

  // An address, 0 for null.
  template <class T>
  Fields& pointer(const char* name, T* Params::* field) {
    python.def_property(
        name, [field](const Params& p) { return reinterpret_cast<uintptr_t>(p.*field); },
        [field](Params& p, uintptr_t address) { p.*field = reinterpret_cast<T*>(address); });
    return *this;
  }

  template <class T>
  Fields& number(const char* name, T Params::* field) {
    python.def_readwrite(name, field);
    return *this;
  }

  Fields& dtype(const char* name, DType Params::* field) {
    python.def_property(
        name, [field](const Params& p) { return static_cast<int>(p.*field); },
        [field](Params& p, int code) {
          if (code < 0 || code > static_cast<int>(DType::kFloat16))
            throw py::value_error("no such dtype code");
          p.*field = static_cast<DType>(code);
        });
    return *this;
  }
};

}  // namespace

#define DIMVIDA_FIELD(kind, name) kind(#name, &P::name)

void bind_params(py::module_& m) {
  {
    using P = MaskedStepParams;
    Fields<P>(m, "MaskedStepParams")
        .DIMVIDA_FIELD(pointer, x)
        .DIMVIDA_FIELD(pointer, x0_prev)
        .DIMVIDA_FIELD(pointer, out)
        .DIMVIDA_FIELD(pointer, known)
        .DIMVIDA_FIELD(pointer, table)
        .DIMVIDA_FIELD(pointer, step)
        .DIMVIDA_FIELD(pointer, sample_ids)
        .DIMVIDA_FIELD(pointer, seed)
        .DIMVIDA_FIELD(pointer, noise)
        .DIMVIDA_FIELD(pointer, low)
        .DIMVIDA_FIELD(number, batch)
        .DIMVIDA_FIELD(number, views)
        .DIMVIDA_FIELD(number, dim)
        .DIMVIDA_FIELD(number, rows)
        .DIMVIDA_FIELD(number, clip)
        .DIMVIDA_FIELD(dtype, out_dtype)
        .DIMVIDA_FIELD(dtype, low_dtype)
        .DIMVIDA_FIELD(number, step_is_int64);
  }
  {
    using P = GroupNormSiluParams;
    Fields<P>(m, "GroupNormSiluParams")
        .DIMVIDA_FIELD(pointer, left)
        .DIMVIDA_FIELD(pointer, right)
        .DIMVIDA_FIELD(pointer, residual)
        .DIMVIDA_FIELD(pointer, sum)
        .DIMVIDA_FIELD(pointer, rows)
        .DIMVIDA_FIELD(pointer, mask)
        .DIMVIDA_FIELD(pointer, step)
        .DIMVIDA_FIELD(pointer, weight)
        .DIMVIDA_FIELD(pointer, bias)
        .DIMVIDA_FIELD(pointer, out)
        .DIMVIDA_FIELD(number, left_stride)
        .DIMVIDA_FIELD(number, right_stride)
        .DIMVIDA_FIELD(number, residual_stride)
        .DIMVIDA_FIELD(number, sum_stride)
        .DIMVIDA_FIELD(number, out_stride)
        .DIMVIDA_FIELD(number, mask_stride)
        .DIMVIDA_FIELD(number, step_stride)
        .DIMVIDA_FIELD(number, batch)
        .DIMVIDA_FIELD(number, width)
        .DIMVIDA_FIELD(number, left_width)
        .DIMVIDA_FIELD(number, groups)
        .DIMVIDA_FIELD(number, masks)
        .DIMVIDA_FIELD(number, steps)
        .DIMVIDA_FIELD(number, eps)
        .DIMVIDA_FIELD(dtype, in_dtype)
        .DIMVIDA_FIELD(dtype, out_dtype)
        .DIMVIDA_FIELD(number, step_is_int64);
  }
  {
    using P = PackImagesParams;
    Fields<P>(m, "PackImagesParams")
        .DIMVIDA_FIELD(pointer, images)
        .DIMVIDA_FIELD(pointer, out)
        .DIMVIDA_FIELD(number, batch)
        .DIMVIDA_FIELD(number, channels)
        .DIMVIDA_FIELD(number, height)
        .DIMVIDA_FIELD(number, width)
        .DIMVIDA_FIELD(number, batch_stride)
        .DIMVIDA_FIELD(number, channel_stride)
        .DIMVIDA_FIELD(number, height_stride)
        .DIMVIDA_FIELD(number, width_stride)
        .DIMVIDA_FIELD(dtype, in_dtype);
  }
  {
    using P = PhiloxNormalParams;
    Fields<P>(m, "PhiloxNormalParams")
        .DIMVIDA_FIELD(pointer, z)
        .DIMVIDA_FIELD(pointer, sample_ids)
        .DIMVIDA_FIELD(pointer, seed)
        .DIMVIDA_FIELD(number, batch)
        .DIMVIDA_FIELD(number, count)
        .DIMVIDA_FIELD(number, draw);
  }
  {
    using P = PhiloxWordsParams;
    Fields<P>(m, "PhiloxWordsParams")
        .DIMVIDA_FIELD(pointer, counters)
        .DIMVIDA_FIELD(pointer, key)
        .DIMVIDA_FIELD(pointer, words)
        .DIMVIDA_FIELD(number, count);
  }
}

}  // namespace dimvida
