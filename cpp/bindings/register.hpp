// One function per group of bindings; module.cpp calls them.
#pragma once

#include <pybind11/pybind11.h>

namespace gradproof {

namespace py = pybind11;

void register_config(py::module_& m);
void register_math(py::module_& m);
void register_layers(py::module_& m);
void register_losses(py::module_& m);
void register_network(py::module_& m);
void register_optimizers(py::module_& m);
void register_monitor(py::module_& m);
void register_training(py::module_& m);

}  // namespace gradproof
