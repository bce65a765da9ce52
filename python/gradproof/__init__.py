"""gradproof: gradient checking as a measurement.

Every entry of a gradient is measured with an uncertainty computed for that entry, and the pattern of what does not
match says what the mistake probably is.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from gradproof import kernels
from gradproof._config import config, show_config
from gradproof._core import version as _version
from gradproof.check.functions import assert_gradients, check_gradients
from gradproof.check.networks import check_model
from gradproof.check.precision import PrecisionReport, compare_precisions
from gradproof.check.report import EntryReport, Finding, GradientError, GradientReport, TensorReport, Verdict
from gradproof.check.sanity import SanityCheck, SanityReport, sanity_check
from gradproof.check.textbook import numeric_gradient
from gradproof.nn import layers, reference
from gradproof.nn.layers import (
    BatchNorm,
    Dense,
    Dropout,
    Layer,
    LeakyReLU,
    Maxout,
    ReLU,
    Sigmoid,
    Softmax,
    Tanh,
)
from gradproof.nn.model import Sequential
from gradproof.nn.serialize import load

if TYPE_CHECKING:
    from gradproof import data, tune
    from gradproof.train import averages, callbacks, schedules
    from gradproof.train.bias_variance import FitDiagnosis, diagnose_fit
    from gradproof.train.doctor import Symptom, diagnose
    from gradproof.train.finder import find_learning_rate
    from gradproof.train.history import History
    from gradproof.train.optimizers import SGD, Adam, Momentum, RMSprop

# Not every program trains: imported when first used, as the lines above say.
_LATER = {
    "Adam": "train.optimizers",
    "FitDiagnosis": "train.bias_variance",
    "History": "train.history",
    "Momentum": "train.optimizers",
    "RMSprop": "train.optimizers",
    "SGD": "train.optimizers",
    "Symptom": "train.doctor",
    "averages": "train.averages",
    "callbacks": "train.callbacks",
    "data": "data",
    "diagnose": "train.doctor",
    "diagnose_fit": "train.bias_variance",
    "find_learning_rate": "train.finder",
    "schedules": "train.schedules",
    "tune": "tune",
}

__version__ = _version()

__all__ = [
    "Adam",
    "BatchNorm",
    "Dense",
    "Dropout",
    "EntryReport",
    "Finding",
    "FitDiagnosis",
    "GradientError",
    "GradientReport",
    "History",
    "Layer",
    "LeakyReLU",
    "Maxout",
    "Momentum",
    "PrecisionReport",
    "RMSprop",
    "ReLU",
    "SGD",
    "SanityCheck",
    "SanityReport",
    "Sequential",
    "Sigmoid",
    "Softmax",
    "Symptom",
    "Tanh",
    "TensorReport",
    "Verdict",
    "assert_gradients",
    "averages",
    "callbacks",
    "check_gradients",
    "check_model",
    "compare_precisions",
    "config",
    "data",
    "diagnose",
    "diagnose_fit",
    "find_learning_rate",
    "kernels",
    "layers",
    "load",
    "numeric_gradient",
    "reference",
    "sanity_check",
    "schedules",
    "show_config",
    "tune",
]


def __getattr__(name: str) -> Any:
    """Training, data sets, and ``gp.torch``, ``gp.jax`` and ``gp.sklearn``, imported when first used."""
    from gradproof.interop import FRAMEWORKS, framework

    if name in FRAMEWORKS:
        return framework(name)
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_LATER[name]}")
    value = module if module.__name__.endswith(f".{name}") else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
