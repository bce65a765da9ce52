"""Problems for the estimators of scikit-learn, and estimators that suit them."""

from __future__ import annotations

from typing import Any

import numpy as np

KINDS = ["two classes", "three classes", "several labels", "one output", "two outputs"]


def problem(kind: str, m: int = 40) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    X = rng.normal(size=(m, 4))
    values = X @ rng.normal(size=(4, 3)) + 0.1 * rng.normal(size=(m, 3))
    return X, {
        "two classes": np.where(values[:, 0] > 0, "yes", "no"),
        "three classes": values.argmax(axis=1) * 10,
        "several labels": (values > 0).astype(int),
        "one output": values[:, 0],
        "two outputs": values[:, :2],
    }[kind]


def estimator(kind: str, **parameters: Any) -> Any:
    from gradproof.interop.sklearn import MLPClassifier, MLPRegressor

    cls = MLPRegressor if kind.endswith(("output", "outputs")) else MLPClassifier
    return cls(**{"hidden_layer_sizes": (6, 5), "random_state": 0, "max_iter": 5, **parameters})
