"""Gradients of JAX: nests of arrays, custom rules, both precisions, first and second order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="JAX is not installed (pip install gradproof[jax])")

import jax.numpy as jnp  # noqa: E402

import gradproof as gp  # noqa: E402


@pytest.fixture
def x64() -> Iterator[None]:
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


def sine(backward: Any) -> Any:
    """sin with its own rule."""

    @jax.custom_vjp
    def f(x: Any) -> Any:
        return jnp.sin(x)

    f.defvjp(lambda x: (jnp.sin(x), x), lambda x, g: (backward(x, g),))
    return f


def network(params: Any, x: Any, power: int) -> Any:
    hidden = jnp.tanh(x @ params["layers"][0]["W"] + params["layers"][0]["b"])
    return {"out": (hidden @ params["layers"][1]["W"]) ** power, "size": x.shape[0]}


@pytest.fixture
def arguments(rng: np.random.Generator) -> tuple[Any, ...]:
    layers = [{"W": rng.normal(size=(3, 4)), "b": rng.normal(size=4)}, {"W": rng.normal(size=(4, 2))}]
    return {"layers": layers}, rng.normal(size=(5, 3)), 2


@pytest.mark.parametrize("jit", [True, False])
@pytest.mark.usefixtures("x64")
def test_nests_are_checked_by_path(arguments: tuple[Any, ...], jit: bool) -> None:
    report = gp.jax.check_grads(network, arguments, jit=jit)
    assert list(report.tensors) == ["input0.layers.0.W", "input0.layers.0.b", "input0.layers.1.W", "input1"]
    assert report.dtype == "float64"


def test_float32_is_the_default_of_jax(arguments: tuple[Any, ...]) -> None:
    report = gp.jax.check_grads(network, arguments, raise_exception=False)
    assert report.dtype == "float32"
    assert report.verdict != "fail"


def test_mistakes_in_float32_are_found(rng: np.random.Generator) -> None:
    wrong = sine(lambda x, g: 1.5 * g * jnp.cos(x))
    with pytest.raises(gp.GradientError) as caught:
        gp.jax.check_grads(wrong, (rng.normal(size=6),))
    assert caught.value.report.culprits == ["input0"]


@pytest.mark.usefixtures("x64")
def test_custom_rules(rng: np.random.Generator) -> None:
    x = rng.normal(size=(3, 2))
    assert gp.jax.check_grads(sine(lambda x, g: g * jnp.cos(x)), (x,))
    for backward in (
        lambda x, g: g * jnp.sin(x),
        lambda x, g: -g * jnp.cos(x),
        lambda x, g: 1.001 * g * jnp.cos(x),
        lambda x, g: (g * jnp.cos(x)).at[1, 1].set(0.0),
    ):
        assert gp.jax.check_grads(sine(backward), (x,), raise_exception=False).verdict == "fail"


@pytest.mark.usefixtures("x64")
def test_many_entries_half_wrong(rng: np.random.Generator) -> None:
    """A tolerance that grows with the size of the array would let this pass."""
    report = gp.jax.check_grads(
        sine(lambda x, g: 1.5 * g * jnp.cos(x)), (rng.normal(size=100_000),), raise_exception=False
    )
    assert report.verdict == "fail"


@pytest.mark.usefixtures("x64")
def test_second_order(rng: np.random.Generator) -> None:
    x = rng.normal(size=3)
    assert len(gp.jax.check_grads(lambda x: jnp.sin(x) * x[0], (x,), order=2).stages) == 2
    wrong = sine(lambda x, g: g * jax.lax.stop_gradient(jnp.cos(x)))
    report = gp.jax.check_grads(wrong, (x,), order=2, raise_exception=False)
    assert [str(stage.verdict) for stage in report.stages] == ["pass", "fail"]


@pytest.mark.usefixtures("x64")
def test_complex(rng: np.random.Generator) -> None:
    z = rng.normal(size=3) + 1j * rng.normal(size=3)
    report = gp.jax.check_grads(lambda z, x: (z * z * z.conj(), jnp.abs(z), z.real * x), (z, rng.normal(size=3)))
    assert list(report.tensors) == ["input0.real", "input0.imag", "input1"]


@pytest.mark.usefixtures("x64")
def test_functions_that_cannot_be_traced(rng: np.random.Generator) -> None:
    assert gp.jax.check_grads(
        lambda x: x * 2 if float(jax.lax.stop_gradient(x).sum()) > -1e9 else x, (rng.normal(size=3),)
    )


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="no floating array"):
        gp.jax.check_grads(lambda n: n, (3,))
    with pytest.raises(ValueError, match="order"):
        gp.jax.check_grads(jnp.sin, (1.0,), order=3)
