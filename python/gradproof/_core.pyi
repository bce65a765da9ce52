# Stub of the compiled core, the same for every instruction set. `Floats` is float32 or float64, the same in one call;
# arrays are C-contiguous and aligned, outputs come first and are written in place.

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[Any]
Integers: TypeAlias = NDArray[np.int64]

def available_isas() -> list[str]: ...

# ---- register_config.cpp ----
def version() -> str: ...
def isa() -> str: ...
def eigen_version() -> str: ...
def matrix_unit() -> bool: ...
def allow_matrix_unit(allow: bool, /) -> None: ...
def compiler() -> str: ...
def thread_count() -> int: ...
def set_thread_count(count: int, /) -> None: ...

# ---- register_math.cpp ----
def exp(y: Floats, x: Floats, /) -> None: ...
def expm1(y: Floats, x: Floats, /) -> None: ...
def log(y: Floats, x: Floats, /) -> None: ...
def log1p(y: Floats, x: Floats, /) -> None: ...

# ---- register_layers.cpp ----
def matmul(c: Floats, a: Floats, b: Floats, transpose_a: bool, transpose_b: bool, /) -> None: ...
def dense_forward(y: Floats, x: Floats, W: Floats, b: Floats | None, /) -> None: ...
def dense_backward(dx: Floats | None, dW: Floats, db: Floats | None, dy: Floats, x: Floats, W: Floats, /) -> None: ...
def relu_forward(y: Floats, x: Floats, /) -> None: ...
def relu_backward(dx: Floats, dy: Floats, x: Floats, /) -> None: ...
def leaky_relu_forward(y: Floats, x: Floats, slope: float, /) -> None: ...
def leaky_relu_backward(dx: Floats, dy: Floats, x: Floats, slope: float, /) -> None: ...
def tanh_forward(y: Floats, x: Floats, /) -> None: ...
def tanh_backward(dx: Floats, dy: Floats, y: Floats, /) -> None: ...
def sigmoid_forward(y: Floats, x: Floats, /) -> None: ...
def sigmoid_backward(dx: Floats, dy: Floats, y: Floats, /) -> None: ...
def softmax_forward(y: Floats, x: Floats, /) -> None: ...
def softmax_backward(dx: Floats, dy: Floats, y: Floats, /) -> None: ...
def maxout_forward(y: Floats, winner: NDArray[np.int32], x: Floats, /) -> None: ...
def maxout_backward(dx: Floats, dy: Floats, winner: NDArray[np.int32], /) -> None: ...
def dropout_mask(mask: Floats, keep_prob: float, seed: int, stream: int, step: int, /) -> None: ...
def dropout_forward(y: Floats, x: Floats, mask: Floats, /) -> None: ...
def dropout_backward(dx: Floats, dy: Floats, mask: Floats, /) -> None: ...
def batch_norm_forward(
    y: Floats,
    x_hat: Floats,
    mean: Floats,
    inv_std: Floats,
    variance: Floats,
    x: Floats,
    gamma: Floats,
    beta: Floats,
    epsilon: float,
    /,
) -> None: ...
def batch_norm_inference(
    y: Floats,
    x: Floats,
    gamma: Floats,
    beta: Floats,
    running_mean: Floats,
    running_variance: Floats,
    epsilon: float,
    /,
) -> None: ...
def batch_norm_backward(
    dx: Floats, dgamma: Floats, dbeta: Floats, dy: Floats, x_hat: Floats, inv_std: Floats, gamma: Floats, /
) -> None: ...
def batch_norm_update(
    running_mean: Floats, running_variance: Floats, mean: Floats, variance: Floats, decay: float, /
) -> None: ...

# ---- register_losses.cpp ----
def softmax_cross_entropy(dscores: Floats | None, scores: Floats, labels: Integers, /) -> float: ...
def hinge(dscores: Floats | None, scores: Floats, labels: Integers, margin: float, /) -> float: ...
def binary_cross_entropy(dscores: Floats | None, scores: Floats, targets: Floats, /) -> float: ...
def mse(dpredictions: Floats | None, predictions: Floats, targets: Floats, /) -> float: ...
def l1(dW: Floats | None, W: Floats, coefficient: float, /) -> float: ...
def l2(dW: Floats | None, W: Floats, coefficient: float, /) -> float: ...

# ---- register_optimizers.cpp: rules and runs as in train/optimizers.py ----
def gradient_norm(gradient: Floats, runs: Integers, /) -> float: ...
def optimizer_update(
    theta: Floats,
    slot0: Floats | None,
    slot1: Floats | None,
    gradient: Floats,
    runs: Integers,
    kind: int,
    t: int,
    learning_rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    weight_decay: float,
    clip_norm: float,
    /,
) -> None: ...

# ---- register_network.cpp: plans are rows `ops` (n_ops, 6) and `scalars` (n_ops, 2), see nn/plan.py ----
def network_workspace_size(ops: Integers, m: int, /) -> int: ...
def network_forward(
    ops: Integers,
    scalars: NDArray[np.float64],
    theta: Floats,
    buffers: Floats,
    x: Floats,
    y: Floats,
    workspace: Floats,
    training: bool,
    seed: int,
    step: int,
    /,
) -> None: ...
def careful_forward(
    ops: Integers,
    scalars: NDArray[np.float64],
    theta: Floats,
    x: Floats,
    y: Floats,
    workspace: Floats,
    seed: int,
    step: int,
    /,
) -> None: ...
def network_update_statistics(
    ops: Integers, scalars: NDArray[np.float64], buffers: Floats, workspace: Floats, m: int, /
) -> None: ...
def network_backward(
    ops: Integers,
    scalars: NDArray[np.float64],
    theta: Floats,
    x: Floats,
    dy: Floats,
    gradient: Floats,
    dx: Floats | None,
    workspace: Floats,
    /,
) -> None: ...
def structured_pass(
    ops: Integers,
    scalars: NDArray[np.float64],
    theta: Floats,
    x: Floats,
    loss: int,
    labels: Integers,
    values: Floats,
    workspace: Floats,
    scheme: int,
    steps: Floats,
    entries: Integers | None,
    change: NDArray[np.float64],
    kink: NDArray[np.uint8] | None,
    /,
) -> None: ...
def tiny_steps(
    ops: Integers,
    scalars: NDArray[np.float64],
    theta: Floats,
    x: Floats,
    loss: int,
    labels: Integers,
    values: Floats,
    workspace: Floats,
    steps: Floats,
    /,
) -> None: ...
def rounding_errors(
    ops: Integers,
    scalars: NDArray[np.float64],
    theta: Floats,
    x: Floats,
    loss: int,
    labels: Integers,
    values: Floats,
    workspace: Floats,
    input_error: float,
    error: NDArray[np.float64],
    /,
) -> float: ...
def ordinary_losses(
    ops: Integers,
    scalars: NDArray[np.float64],
    theta: Floats,
    x: Floats,
    loss: int,
    labels: Integers,
    values: Floats,
    workspace: Floats,
    buffers: Floats,
    seed: int,
    step: int,
    entries: Integers,
    steps: Floats,
    losses: NDArray[np.float64],
    /,
) -> None: ...
def activation_statistics(
    into: NDArray[np.float64],
    ops: Integers,
    scalars: NDArray[np.float64],
    workspace: Floats,
    m: int,
    rows: int,
    /,
) -> None: ...
def tensor_statistics(
    into: NDArray[np.float64], bounds: Integers, theta: Floats, before: Floats, gradient: Floats, /
) -> None: ...

# ---- register_training.cpp: a session is a capsule, see train/session.py ----
def training_session(
    ops: Integers,
    scalars: NDArray[np.float64],
    theta: Floats,
    gradient: Floats,
    buffers: Floats,
    slot0: Floats | None,
    slot1: Floats | None,
    loss: int,
    seed: int,
    updated: Integers,
    regularized: Integers,
    kind: int,
    beta1: float,
    beta2: float,
    epsilon: float,
    weight_decay: float,
    clip_norm: float,
    owners: list[Floats],
    /,
) -> object: ...
def training_run(
    session: object,
    x: Floats,
    y: NDArray[Any],
    weights: Floats | None,
    order: Integers | None,
    batch_size: int,
    learning_rate: float,
    l1: float,
    l2: float,
    rows: int,
    steps: int,
    dropout_step: int,
    workspace: Floats,
    before: Floats | None,
    costs: NDArray[np.float64],
    done: Integers,
    /,
) -> None: ...
def training_step(
    session: object,
    x: Any,
    y: Any,
    learning_rate: float,
    l1: float,
    l2: float,
    steps: int,
    dropout_step: int,
    /,
) -> float | None: ...
