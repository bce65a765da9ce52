"""The compiled core: the one extension module that fits this processor, chosen once, at import.

There is one module per instruction set (``_gradproof_v1``, ``_v3``, ``_v4`` on x86-64, ``_neon`` on arm64).
``GRADPROOF_ISA=v1|v3|v4|neon`` asks for one of them by name, which is then all that is used: without it, training takes
large products of float32 to the matrix unit (AMX) of processors that have one.
"""

from __future__ import annotations

import importlib
import importlib.util
import os

from . import _gradproof_cpu, _program, _threads

_ALL = ("v1", "v3", "v4", "neon")


def _module_name(isa: str) -> str:
    return f"{__package__}._gradproof_{isa}"


def available_isas() -> list[str]:
    """Names of the instruction sets that are built and that this processor can run, best last."""
    return [isa for isa in _gradproof_cpu.supported() if importlib.util.find_spec(_module_name(isa)) is not None]


def _choose() -> str:
    available = available_isas()
    requested = os.environ.get("GRADPROOF_ISA", "")
    if not requested:
        if not available:
            raise ImportError(
                f"gradproof: no compiled module for this processor, which can run {_gradproof_cpu.supported()}; "
                "reinstall gradproof"
            )
        return available[-1]
    if requested not in _ALL:
        raise ImportError(f"GRADPROOF_ISA={requested!r} is not an instruction set; expected one of {', '.join(_ALL)}")
    if requested not in available:
        why = "it was not built" if requested in _gradproof_cpu.supported() else "this processor cannot run it"
        raise ImportError(
            f"GRADPROOF_ISA={requested!r} is not available: {why}; available here: {', '.join(available) or 'none'}"
        )
    return requested


try:
    _module = importlib.import_module(_module_name(_choose()))
    _module.set_thread_count(_threads.default())
    _module.allow_matrix_unit(not os.environ.get("GRADPROOF_ISA"))
except (ImportError, ValueError) as error:
    _program.end(error)
    raise
globals().update({name: value for name, value in vars(_module).items() if not name.startswith("_")})
