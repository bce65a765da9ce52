"""Every public name says what it is, and what it takes."""

from __future__ import annotations

import enum
import importlib
import inspect
import re
from types import ModuleType
from typing import Any

import pytest

import gradproof as gp
from gradproof.interop import FRAMEWORKS

MODULES = ["", *(name for name in gp.__all__ if inspect.ismodule(getattr(gp, name))), *FRAMEWORKS]
FORMULAS = ("gradproof.nn.reference",)  # to be read themselves: one sentence with the formula


def public(module: ModuleType) -> list[str]:
    """What a module offers: what it lists, else what it defines."""
    listed = getattr(module, "__all__", None)
    own = [name for name, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__]
    return sorted(listed if listed is not None else [name for name in own if not name.startswith("_")])


def subject(name: str) -> ModuleType:
    try:
        return getattr(gp, name) if name else gp
    except ImportError as error:
        pytest.skip(str(error))


def takes(value: Any) -> list[str]:
    """Names of the arguments."""
    if inspect.isclass(value) and issubclass(value, (enum.Enum, Exception)):
        return []
    try:
        parameters = inspect.signature(value).parameters
    except ValueError:  # written in C
        return []
    return [name for name in parameters if name not in ("self", "cls") and not name.startswith("_")]


def section(text: str) -> str:
    """The section of a NumPy docstring that lists arguments; for results that nobody constructs, their attributes."""
    found = re.search(r"^(?:Parameters|Attributes)\n-+\n(.*?)(?=^\w[^\n]*\n-{3,}\n|\Z)", text, re.MULTILINE | re.DOTALL)
    return found[1] if found else ""


def faults(name: str, value: Any) -> list[str]:
    text = inspect.getdoc(value) if inspect.isroutine(value) else inspect.cleandoc(vars(value).get("__doc__") or "")
    if not text:
        return [f"{name} has no docstring"]
    if value.__module__.startswith(FORMULAS) and inspect.isfunction(value):
        return []
    listed = section(text)
    missing = [argument for argument in takes(value) if not re.search(rf"\b{argument}\b", listed)]
    return [f"{name} does not list {', '.join(missing)}"] if missing else []


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_has_a_docstring_that_lists_its_arguments(module):
    found = []
    for name in public(subject(module)):
        value = getattr(subject(module), name)
        if inspect.isclass(value) or inspect.isroutine(value):
            found += faults(name, value)
            found += [
                f"{name}.{method} has no docstring"
                for method, function in inspect.getmembers(value, inspect.isfunction)
                if inspect.isclass(value) and not method.startswith("_") and not inspect.getdoc(function)
            ]
        elif inspect.ismodule(value) and not value.__doc__:
            found.append(f"{name} has no docstring")
    assert not found, "\n".join(found)


def test_every_module_has_a_docstring():
    for name in ("check", "nn", "data", "train", "interop", "kernels", "examples"):
        assert importlib.import_module(f"gradproof.{name}").__doc__
