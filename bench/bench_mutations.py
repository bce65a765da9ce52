"""Mistakes in backward passes and correct gradients that fool checkers: who finds the ones, who accuses the others."""

from __future__ import annotations

import argparse
import logging
import sys
import time
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

Row = dict[str, Any]
SCIPY_BOUND = 1e-5  # scipy gives a norm and no verdict


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--only", nargs="+", metavar="WORD", help="contenders whose name contains one of these")


class Problem:
    """A loss and a gradient over one flat vector, as the peers want them."""

    def __init__(self, loss: Callable[[Any], Any], gradient: Any, params: Any) -> None:
        import numpy as np

        self.loss, self.gradient, self.params = loss, gradient, params
        leaves: list[Any] = []
        self._walk(params, leaves.append)
        self.leaves = leaves
        dtype = np.result_type(*leaves) if leaves else np.dtype("float64")
        self.x = np.concatenate([leaf.ravel() for leaf in leaves]).astype(dtype)

    def _walk(self, node: Any, take: Callable[[Any], Any]) -> Any:
        """The same structure with every array replaced by what `take` makes of it."""
        if isinstance(node, dict):
            return {key: self._walk(value, take) for key, value in node.items()}
        if isinstance(node, (list, tuple)):
            return type(node)([self._walk(value, take) for value in node])
        return take(node)

    def structure(self, x: Any) -> Any:
        start = 0

        def take(leaf: Any) -> Any:
            nonlocal start
            start += leaf.size
            return x[start - leaf.size : start].reshape(leaf.shape).astype(leaf.dtype)

        return self._walk(self.params, take)

    def f(self, x: Any) -> Any:
        import numpy as np

        return np.asarray(self.loss(self.structure(np.asarray(x))), self.x.dtype)

    def g(self, x: Any) -> Any:
        import numpy as np

        gradient = self.gradient(self.structure(np.asarray(x))) if callable(self.gradient) else self.gradient
        parts: list[Any] = []
        self._walk(gradient, lambda leaf: parts.append(np.ravel(leaf)))
        return np.concatenate(parts).astype(self.x.dtype)


# Each contender gives True if it takes the gradient for right.


def ours(problem: Problem) -> Any:
    import gradproof as gp

    return gp.check_gradients(problem.loss, problem.gradient, problem.params, progress=False)


def torch_check(problem: Problem, fast: bool) -> bool:
    import torch

    class Function(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return torch.as_tensor(problem.f(x.detach().numpy()))

        @staticmethod
        def backward(ctx: Any, dy: Any) -> Any:
            return dy * torch.as_tensor(problem.g(ctx.saved_tensors[0].detach().numpy()))

    x = torch.tensor(problem.x, requires_grad=True)
    return bool(torch.autograd.gradcheck(Function.apply, (x,), raise_exception=False, fast_mode=fast))


def jax_check(problem: Problem) -> bool:
    import jax
    from jax.test_util import check_grads

    jax.config.update("jax_enable_x64", True)
    dtype = problem.x.dtype

    def value(x: Any) -> Any:
        return jax.pure_callback(problem.f, jax.ShapeDtypeStruct((), dtype), x)

    f = jax.custom_vjp(value)
    f.defvjp(
        lambda x: (value(x), x),
        lambda x, dy: (dy * jax.pure_callback(problem.g, jax.ShapeDtypeStruct(x.shape, dtype), x),),
    )
    check_grads(f, (jax.numpy.asarray(problem.x),), order=1, modes=["rev"])
    return True


def scipy_check(problem: Problem) -> bool:
    from scipy.optimize import check_grad

    return bool(check_grad(problem.f, problem.g, problem.x) < SCIPY_BOUND)


OURS = "gradproof"
CONTENDERS: dict[str, tuple[Callable[[Problem], Any], str | None]] = {
    OURS: (ours, None),
    "torch gradcheck, slow": (lambda problem: torch_check(problem, False), "torch"),
    "torch gradcheck, fast": (lambda problem: torch_check(problem, True), "torch"),
    "jax check_grads": (jax_check, "jax"),
    f"scipy check_grad < {SCIPY_BOUND:g}": (scipy_check, "scipy"),
}


def run(arguments: argparse.Namespace) -> list[Row]:
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from cases.fooling import CASES
    from cases.mistakes import MAKERS, MISTAKES, network

    twins = [Problem(net.loss, net.right_gradient, net.params) for net in map(network, MAKERS)]
    groups = {
        "mistakes": [Problem(m.loss, m.gradient, m.params) for m in MISTAKES],
        "twins": twins,
        "correct": [Problem(case.loss, case.gradient, case.params) for case in CASES],
    }
    warnings.simplefilter("ignore")  # the peers' about precision, NumPy's about NaN
    logging.disable(logging.ERROR)  # JAX prints what a callback raises
    rows = []
    for name, (check, package) in CONTENDERS.items():
        if arguments.only and not any(word in name for word in arguments.only):
            continue
        row: Row = {"contender": name}
        rows.append(row)
        if package and find_spec(package) is None:
            row["missing"] = package
            continue
        print(name, file=sys.stderr)
        started = time.perf_counter()
        answers = {group: [_answer(check, problem) for problem in problems] for group, problems in groups.items()}
        row["seconds"] = time.perf_counter() - started
        for group, values in answers.items():
            row[group] = len(values)
            row[f"{group} refused"] = sum(value != "right" for value in map(_word, values))
            row[f"{group} crashed"] = sum(value == "error" for value in map(_word, values))
            row[f"{group} open"] = sum(value == "open" for value in map(_word, values))
        if name == OURS:
            found = list(zip(MISTAKES, answers["mistakes"], strict=True))
            row["placed"] = sum(_placed(mistake, report) for mistake, report in found)
            told = [(mistake, report) for mistake, report in found if mistake.causes]
            row["told"] = len(told)
            row["named"] = sum(bool(r.findings) and r.findings[0].cause in m.causes for m, r in told)
    return rows


def _answer(check: Callable[[Problem], Any], problem: Problem) -> Any:
    try:
        return check(problem)
    except AssertionError:  # how JAX says no
        return False
    except Exception as error:  # a function that raises beside the point ends the check of a peer
        return error


def _word(answer: Any) -> str:
    if isinstance(answer, Exception):
        return "error"
    if isinstance(answer, bool):
        return "right" if answer else "wrong"
    return {"pass": "right", "inconclusive": "open"}.get(answer.verdict, "wrong")


def _placed(mistake: Any, report: Any) -> bool:
    return not isinstance(report, Exception) and set(report.culprits) == set(mistake.wrong)


def tables(rows: list[Row]) -> list[tuple[str, list[str], list[list[str]]]]:
    lines = []
    for row in rows:
        if "missing" in row:
            lines.append([row["contender"], f"missing: {row['missing']} is not installed", *[""] * 6])
            continue
        accused = row["correct refused"] - row["correct open"] - row["correct crashed"]
        lines.append(
            [
                row["contender"],
                f"{row['mistakes refused'] - row['mistakes open'] - row['mistakes crashed']} of {row['mistakes']}",
                f"{row['placed']}" if "placed" in row else "not told",
                f"{row['named']} of {row['told']}" if "told" in row else "not told",
                f"{row['twins refused']} of {row['twins']}",
                f"{accused} of {row['correct']}",
                f"{row['correct open']}, {row['correct crashed']}",
                f"{row['seconds']:.1f}",
            ]
        )
    columns = [
        "",
        "mistakes found",
        "all tensors exact",
        "cause named",
        "twins accused",
        "correct accused",
        "open, crashed",
        "s",
    ]
    return [("Mistakes in handwritten backward passes; correct gradients that fool checkers", columns, lines)]
