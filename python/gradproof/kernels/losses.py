"""Losses with their gradients, and penalties on weights. Sums are accumulated in float64."""

from __future__ import annotations

from math import inf
from typing import Any

import numpy as np

from gradproof import _core
from gradproof.kernels.arguments import Array, batch, floats, integers, number
from gradproof.kernels.arguments import targets as checked_targets


def softmax_cross_entropy(scores: Any, labels: Any) -> tuple[float, Array]:
    """``L = log(sum of e^s) - s_y``, mean over the rows; ``ds = (p - [j = y]) / m`` with ``p = softmax(s)``.

    Parameters
    ----------
    scores : array (m, n), with at least one row
    labels : integer array (m,), from 0 to n - 1

    Returns
    -------
    loss : float
    dscores : array (m, n)
        Accurate also where a probability approaches 0 or 1.
    """
    scores = batch(scores, "scores")
    labels = integers(labels, "labels", scores.shape[:1], scores.shape[1], np.int64)
    dscores = np.empty_like(scores)
    return _core.softmax_cross_entropy(dscores, scores, labels), dscores


def hinge(scores: Any, labels: Any, margin: float = 1.0) -> tuple[float, Array]:
    """The multiclass SVM loss of CS231n: ``L`` = sum over the wrong classes of ``max(0, s_j - s_y + margin)``.

    Parameters
    ----------
    scores : array (m, n), with at least one row
    labels : integer array (m,), from 0 to n - 1
    margin : float, not negative

    Returns
    -------
    loss : float
        Mean over the rows.
    dscores : array (m, n)
        With the subgradient 0 at a tie.
    """
    scores = batch(scores, "scores")
    labels = integers(labels, "labels", scores.shape[:1], scores.shape[1], np.int64)
    dscores = np.empty_like(scores)
    return _core.hinge(dscores, scores, labels, number(margin, "margin", 0, inf, "a number >= 0")), dscores


def binary_cross_entropy(scores: Any, targets: Any) -> tuple[float, Array]:
    """``L = log(1 + e^z) - t z`` of logits z, mean over all elements; ``dz = (sigmoid(z) - t) / size``.

    Parameters
    ----------
    scores : array (m, n) of logits, with at least one row
    targets : array (m, n) of the dtype of `scores`, in [0, 1]; (m,) if n is 1

    Returns
    -------
    loss : float
    dscores : array (m, n)
    """
    scores = batch(scores, "scores")
    dscores = np.empty_like(scores)
    return _core.binary_cross_entropy(dscores, scores, checked_targets(targets, scores, "scores", (0, 1))), dscores


def mse(predictions: Any, targets: Any) -> tuple[float, Array]:
    """``L = (p - t)^2``, mean over all elements; ``dp = 2 (p - t) / size``.

    Parameters
    ----------
    predictions : array (m, n), with at least one row
    targets : array (m, n) of the dtype of `predictions`, finite; (m,) if n is 1

    Returns
    -------
    loss : float
    dpredictions : array (m, n)
    """
    predictions = batch(predictions, "predictions")
    dpredictions = np.empty_like(predictions)
    return _core.mse(dpredictions, predictions, checked_targets(targets, predictions, "predictions")), dpredictions


def l1(W: Any, coefficient: float) -> tuple[float, Array]:
    """``c sum |W|`` and its gradient ``c sign(W)``, where the sign of 0 and of NaN is 0.

    Parameters
    ----------
    W : array, of any shape
    coefficient : float c >= 0
    """
    W = floats(W, "W")
    dW = np.zeros_like(W)
    return _core.l1(dW, W, number(coefficient, "coefficient", 0, inf, "a number >= 0")), dW


def l2(W: Any, coefficient: float) -> tuple[float, Array]:
    """``c/2 sum W^2`` and its gradient ``c W``.

    Parameters
    ----------
    W : array, of any shape
    coefficient : float c >= 0
    """
    W = floats(W, "W")
    dW = np.zeros_like(W)
    return _core.l2(dW, W, number(coefficient, "coefficient", 0, inf, "a number >= 0")), dW
