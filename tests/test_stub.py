"""The stub of the extension says what the extension itself says of its functions."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import gradproof as gp
from gradproof import _core

STUB = {
    node.name: node
    for node in ast.parse((Path(gp.__file__).parent / "_core.pyi").read_text(encoding="utf-8")).body
    if isinstance(node, ast.FunctionDef)
}
BOUND = {name: value for name, value in vars(_core).items() if type(value).__name__ == "builtin_function_or_method"}
SIGNATURE = re.compile(r"^(?:\d+\. )?(\w+)\((.*)\) -> (.+)$", re.MULTILINE)  # in the docstrings that pybind11 writes
CAPSULE = ("CapsuleType", "object")


def of_extension(function: object) -> list[tuple[str, ...]]:
    """Types of the arguments and of the result, for every overload."""
    found = []
    for _, arguments, result in SIGNATURE.findall(function.__doc__ or ""):
        types = [argument.split(": ", 1)[1] for argument in re.split(r", (?=\w+: )", arguments) if argument]
        found.append(tuple(map(plain, [*types, result])))
    return found


def plain(text: str) -> str:
    """A type as pybind11 writes it, as the stub does."""
    text = text.replace("numpy.typing.", "").replace("numpy.", "np.")
    text = re.sub(r"typing\.Supports(Int|Float)( \| typing\.SupportsIndex)?", lambda m: m[1].lower(), text)
    return re.sub(r"(typing_extensions|types)\.", "", text)


def of_stub(node: ast.FunctionDef, floats: str) -> tuple[str, ...]:
    assert not (node.args.args or node.args.kwonlyargs or node.args.vararg), f"{node.name}: only positions have meaning"
    annotations = [argument.annotation for argument in node.args.posonlyargs] + [node.returns]
    return tuple(typed(annotation, floats) for annotation in annotations)


def typed(annotation: ast.expr | None, floats: str) -> str:
    assert annotation is not None
    return ast.unparse(annotation).replace("Floats", f"NDArray[np.{floats}]").replace("Integers", "NDArray[np.int64]")


def agree(extension: str, stub: str) -> bool:
    """What the extension takes as any object, or as any list, the stub may say more of; its capsules are objects."""
    return extension in (stub, "object") or stub.startswith(f"{extension}[") or (extension, stub) == CAPSULE


def test_it_lists_every_function():
    assert set(STUB) == set(BOUND) | {"available_isas"}


@pytest.mark.parametrize("name", sorted(BOUND))
def test_it_says_what_the_extension_takes_and_gives(name):
    node = STUB[name]
    precisions = ("float32", "float64") if "Floats" in ast.unparse(node) else ("float64",)
    expected = [of_stub(node, floats) for floats in precisions]
    actual = of_extension(BOUND[name])
    if len(actual) == 1:  # for both precisions, with arrays as objects
        actual *= len(expected)
    assert len(actual) == len(expected)
    for theirs, ours in zip(actual, expected, strict=True):
        assert len(theirs) == len(ours)
        assert [pair for pair in zip(theirs, ours, strict=True) if not agree(*pair)] == []
