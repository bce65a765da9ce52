"""Other people's libraries: PyTorch, JAX, scikit-learn, pytest and ONNX. Each is imported only when asked for."""

from __future__ import annotations

import importlib
from types import ModuleType

FRAMEWORKS = ("torch", "jax", "sklearn")


def framework(name: str) -> ModuleType:
    """``gradproof.interop.<name>``.

    Parameters
    ----------
    name : {"torch", "jax", "sklearn"}
        The framework.

    Raises
    ------
    ImportError
        If the framework is not installed; the message says how to install it.
    """
    try:
        importlib.import_module(name)
    except ImportError as error:
        message = f"gradproof.{name} needs the package {name!r}: pip install gradproof[{name}]"
        raise ImportError(message, name=name) from error
    return importlib.import_module(f"gradproof.interop.{name}")
