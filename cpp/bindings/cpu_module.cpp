// The smallest module: what this processor can run. Python asks it before it loads anything wider.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "gradproof/cpu.hpp"

namespace py = pybind11;

PYBIND11_MODULE(_gradproof_cpu, m, py::mod_gil_not_used(), py::multiple_interpreters::per_interpreter_gil()) {
  m.doc() = "Detection of the processor's instruction sets.";
  m.def("supported", &gradproof::supported_isas, "Names of the instruction sets this processor can run, best last.");
}
