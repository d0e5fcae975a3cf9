// Python classes for the parameters of the kernels.
#pragma once

#include <pybind11/pybind11.h>

namespace dimvida {

void bind_params(pybind11::module_& m);

}  // namespace dimvida
