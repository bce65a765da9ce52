"""gradproof: gradient checking as a measurement.

Every entry of a gradient is measured with an uncertainty computed for that entry, and the pattern of what does not
match says what the mistake probably is.
"""

from __future__ import annotations

from types import ModuleType

from gradproof import data, kernels
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
from gradproof.train import averages, callbacks, schedules
from gradproof.train.bias_variance import FitDiagnosis, diagnose_fit
from gradproof.train.doctor import Symptom, diagnose
from gradproof.train.finder import find_learning_rate
from gradproof.train.history import History
from gradproof.train.optimizers import SGD, Adam, Momentum, RMSprop

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
]


def __getattr__(name: str) -> ModuleType:
    """``gp.torch`` and ``gp.jax``, imported when first used."""
    from gradproof.interop import FRAMEWORKS, framework

    if name not in FRAMEWORKS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return framework(name)
