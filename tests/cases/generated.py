"""Generated mistakes: steps of hand-written backward passes done wrong, each with its cause.

A network's backward pass hands each step where people slip to `Step` together with wrong versions of it, named
``cause__detail``; mistakes that any gradient of a parameter can have are in `PARAMETER_MISTAKES`. `mistakes(family)`
lists them all, for a family ``family(rng) -> Network``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Array = np.ndarray
Params = dict[str, Array]
Family = Callable[[np.random.Generator], "Network"]
FLOW_MISTAKES = {"scale__2": 2.0, "scale__half": 0.5, "scale__keep": 0.8, "sign": -1.0, "missing_term__detached": 0.0}


@dataclass
class Step:
    """Runs a backward pass with at most one step replaced; remembers the steps that could have been."""

    site: str | None = None
    mistake: str | None = None
    seen: list[tuple[str, str, tuple[str, ...]]] = field(default_factory=list)

    def __call__(self, site: str, right: Array, blame: tuple[str, ...], **wrong: Callable[[], Array]) -> Array:
        """The value of a step. `blame`: the tensors that a finding may name; generic mistakes are added."""
        names = [*wrong, *(FLOW_MISTAKES if site.startswith("flow") else ())]
        self.seen += [(site, name, blame) for name in names]
        if site != self.site or self.mistake is None:
            return right
        return wrong[self.mistake]() if self.mistake in wrong else FLOW_MISTAKES[self.mistake] * right


@dataclass(frozen=True)
class Network:
    params: Params
    loss: Callable[[Params], float]
    backward: Callable[[Params, Step], Params]
    m: int
    l2: float = 0.0


@dataclass(frozen=True)
class Mistake:
    """One mistake: `gradient` is wrong, `right` is not; a finding should name one of `blame` and `cause`."""

    family: str
    name: str
    cause: str
    blame: tuple[str, ...]
    network: Network
    right: Params
    gradient: Params


def _roll(axis: int) -> Callable[[Array], Array]:
    return lambda g: np.roll(g, 1, axis)


def _zeroed(*index: Any) -> Callable[[Array], Array]:
    def apply(g: Array) -> Array:
        g = g.copy()
        g[index] = 0
        return g

    return apply


def _scaled_entry(g: Array) -> Array:
    g = g.copy()
    g.flat[np.argmax(np.abs(g))] *= 1.5
    return g


def _permuted_rows(g: Array) -> Array:
    return g[np.random.default_rng(4).permutation(len(g))]


def _clip(g: Array) -> Array:
    bound = float(f"{np.quantile(np.abs(g), 0.6):.1g}")
    return np.clip(g, -bound, bound)


def _swap_two(g: Array) -> Array:
    g = g.copy()
    order = np.argsort(np.abs(g), axis=None)
    g.flat[order[-1]], g.flat[order[-2]] = g.flat[order[-2]], g.flat[order[-1]]
    return g


def _shift(g: Array) -> Array:
    shifted = np.zeros_like(g)
    shifted[1:] = g[:-1]
    return shifted


# name -> (least number of axes, least number of entries, the wrong gradient from the right one, θ, m and λ)
PARAMETER_MISTAKES: dict[str, tuple[int, int, Callable[[Array, Array, int, float], Array]]] = {
    "scale__2": (0, 1, lambda g, x, m, c: 2 * g),
    "scale__half": (0, 1, lambda g, x, m, c: g / 2),
    "scale__sum_for_mean": (0, 1, lambda g, x, m, c: m * g),
    "scale__mean_twice": (0, 1, lambda g, x, m, c: g / m),
    "sign": (0, 1, lambda g, x, m, c: -g),
    "missing_term__zero": (0, 1, lambda g, x, m, c: 0 * g),
    "regularization__added": (1, 2, lambda g, x, m, c: g + (c or 0.05) * x),
    "regularization__l1": (1, 2, lambda g, x, m, c: g + 0.03 * np.sign(x)),
    "transpose__reshape": (2, 4, lambda g, x, m, c: g.T.reshape(g.shape)),
    "reduction__broadcast_sum": (2, 4, lambda g, x, m, c: np.broadcast_to(g.sum(0), g.shape).copy()),
    "reduction__mean_everywhere": (1, 3, lambda g, x, m, c: np.full_like(g, g.mean())),
    "indexing__roll_first": (1, 3, lambda g, x, m, c: _roll(0)(g)),
    "indexing__roll_last": (2, 3, lambda g, x, m, c: _roll(-1)(g)),
    "indexing__shift": (2, 3, lambda g, x, m, c: _shift(g)),
    "indexing__flip": (1, 3, lambda g, x, m, c: g[::-1].copy()),
    "indexing__permuted_rows": (2, 3, lambda g, x, m, c: _permuted_rows(g)),
    "indexing__two_entries": (1, 4, lambda g, x, m, c: _swap_two(g)),
    "indexing__entry": (1, 4, lambda g, x, m, c: _scaled_entry(g)),
    "indexing__last_row": (2, 4, lambda g, x, m, c: _zeroed(-1)(g)),
    "indexing__last_column": (2, 4, lambda g, x, m, c: _zeroed(Ellipsis, -1)(g)),
    "clipping": (1, 6, lambda g, x, m, c: _clip(g)),
    "precision__float16": (1, 4, lambda g, x, m, c: g.astype(np.float16).astype(float)),
    "precision__float32": (1, 4, lambda g, x, m, c: g.astype(np.float32).astype(float)),
}


def mistakes(family: Family, seed: int = 0) -> Iterator[Mistake]:
    """Every mistake of a family that changes its gradient."""
    network = family(np.random.default_rng(seed))
    record = Step()
    right = network.backward(network.params, record)

    def made(name: str, cause: str, blame: tuple[str, ...], gradient: Params) -> Iterator[Mistake]:
        changed = [
            key for key in right if np.max(np.abs(gradient[key] - right[key])) > 1e-7 * np.max(np.abs(right[key]))
        ]
        if changed:
            yield Mistake(family.__name__, name, cause.replace("_", "-"), blame, network, right, gradient)

    for site, name, blame in dict.fromkeys(record.seen):
        gradient = network.backward(network.params, Step(site, name))
        yield from made(f"{site}: {name}", name.split("__")[0], blame, gradient)
    for key, g in right.items():
        for name, (axes, entries, wrong) in PARAMETER_MISTAKES.items():
            if g.ndim >= axes and g.size >= entries:
                gradient = right | {key: wrong(g, network.params[key], network.m, network.l2)}
                yield from made(f"{key}: {name}", name.split("__")[0], (key,), gradient)
        for other, h in right.items():
            if other > key and h.shape == g.shape:
                yield from made(f"{key}, {other}: swapped", "swapped", (key, other), right | {key: h, other: g})
