// Python classes for the parameters of the kernels around the networks.
#pragma once

#include <pybind11/pybind11.h>

namespace dimvida {

void bind_network_params(pybind11::module_& m);

}  // namespace dimvida
