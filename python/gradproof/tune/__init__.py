"""Search for hyper-parameters: at random instead of on a grid, from coarse to fine, on scales that suit them.

Many models at the same time and the best wins (:func:`search`, "caviar"), or one model that is looked after while it
trains (:func:`babysit`, "pandas").
"""

from __future__ import annotations

from gradproof.tune.babysit import babysit
from gradproof.tune.care import Care
from gradproof.tune.methods import CoarseToFine
from gradproof.tune.parameters import Parameter, choice, integer, log, one_minus, uniform
from gradproof.tune.result import SearchResult, Trial
from gradproof.tune.search import search
from gradproof.tune.space import Space

__all__ = [
    "Care",
    "CoarseToFine",
    "Parameter",
    "SearchResult",
    "Space",
    "Trial",
    "babysit",
    "choice",
    "integer",
    "log",
    "one_minus",
    "search",
    "uniform",
]
