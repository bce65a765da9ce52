"""Every example runs and prints, and those that return numbers return the right ones."""

from __future__ import annotations

import importlib
import math
import pkgutil
import subprocess
import sys

import numpy as np
import pytest

import gradproof as gp
from gradproof import examples
from gradproof.examples import (
    check_numpy_function,
    exercise_two_bugs,
    ill_conditioned_bowl,
    vanishing_gradients,
    weight_decay,
)

NAMES = sorted(module.name for module in pkgutil.iter_modules(examples.__path__))
OPTIONAL = {"torch", "jax", "sklearn", "matplotlib", "optuna", "joblib", "onnx", "scipy"}


def test_there_are_examples():
    assert {"ill_conditioned_bowl", "vanishing_gradients", "weight_decay"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_it_runs_and_prints(name, capsys):
    try:
        example = importlib.import_module(f"gradproof.examples.{name}")
    except ImportError as error:
        if error.name not in OPTIONAL:
            raise
        pytest.skip(f"the example needs {error.name}, which is not installed")
    assert example.__doc__ and example.main.__doc__
    example.main()
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) > 3
    assert max(map(len, printed.out.splitlines())) <= 120
    assert "Traceback" not in printed.out and not printed.err


def test_it_runs_from_the_command_line():
    name = "gradproof.examples.ill_conditioned_bowl"
    run = subprocess.run([sys.executable, "-m", name], capture_output=True, text=True, check=True)
    assert "Adam" in run.stdout


def test_the_exercise_finds_both_mistakes_and_names_them():
    report = exercise_two_bugs.main()
    assert set(report.culprits) == {"W2", "b1"}
    factors = {f.tensor: f.evidence["factor"] for f in report.findings if f.cause == "scale"}
    assert factors == {"W2": pytest.approx(2, rel=1e-6), "b1": pytest.approx(4, rel=1e-6)}


def test_a_penalty_that_is_left_out_is_called_that():
    right, wrong = check_numpy_function.main()
    assert right.ok and wrong.culprits == ["w"] and wrong.findings[0].cause == "regularization"


def test_depth_makes_a_power():
    results = vanishing_gradients.main()
    shrinking, growing = results["W = 0.5 I"], results["W = 1.5 I"]
    assert shrinking.output == pytest.approx(0.5**50, rel=1e-12)
    assert growing.output == pytest.approx(1.5**50, rel=1e-12)
    assert shrinking.first / growing.first == pytest.approx((0.5 / 1.5) ** 49, rel=1e-6)  # targets round the error of 1
    assert vanishing_gradients.measure(lambda rng, shape: 0.5 * np.eye(*shape), depth=10).output == (
        pytest.approx(0.5**10, rel=1e-12)
    )


def test_he_and_xavier_cure_it():
    results = vanishing_gradients.main()
    assert results["ReLU, std 0.01"].first < 1e-50 and results["tanh, std 0.01"].first < 1e-40
    assert 0.1 < results["ReLU, He"].output < 10 and 0.1 < results["ReLU, He"].first / results["ReLU, He"].last < 10
    # half of the square in each of 50 layers
    lost = results["ReLU, Xavier"].output / results["ReLU, He"].output
    assert lost == pytest.approx(2.0**-25, rel=1e-9)
    assert 0.01 < results["tanh, Xavier"].output < 1 and 0.001 < results["tanh, Xavier"].first < 1


def test_l2_is_weight_decay_for_sgd_and_not_for_adam():
    results = weight_decay.main()
    assert results["SGD"]["difference"] < 1e-13
    assert results["SGD"]["norm, l2"] == pytest.approx(results["SGD"]["norm, decay"], rel=1e-13)
    assert results["Adam"]["difference"] > 0.5
    assert results["Adam"]["norm, l2"] < 0.9 * results["Adam"]["norm, decay"]
    # and the decay has an effect that could have been missed
    plain = weight_decay.train(gp.SGD(0.5), l2=0.0)
    assert np.linalg.norm(plain.theta) > 1.01 * results["SGD"]["norm, decay"]


def test_the_bowl_takes_as_many_steps_as_theory_says():
    results = ill_conditioned_bowl.main()
    assert results["SGD, rate 2.1 / 100"]["steps"] == math.inf
    # the cost falls by ((100 - 1) / (100 + 1))^2 with every step, and to a millionth
    best = math.log(1e-6) / math.log((99 / 101) ** 2)
    assert abs(results["SGD, the best rate"]["steps"] - best) <= 1
    assert results["SGD, the best rate"]["zigzag"] == results["SGD, the best rate"]["steps"]
    assert results["SGD, rate 1 / 100"]["zigzag"] == 0
    # x alone is left, and its square shrinks by 0.99^2; the cost began at 100
    slow = math.log(1e-6 * 2) / math.log(0.99**2)
    assert abs(results["SGD, rate 1 / 100"]["steps"] - slow) <= 1
    assert results["Momentum, the best"]["steps"] < results["SGD, the best rate"]["steps"] / 5
    assert results["Adam"]["steps"] < 300 and results["RMSprop"]["steps"] < 300
    assert results["Adam"]["zigzag"] < 20
