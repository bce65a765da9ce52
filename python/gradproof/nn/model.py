"""The network that people use: built-in layers run in the C++ core, your own between them in NumPy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradproof import _core
from gradproof.nn import plan, python_layer
from gradproof.nn.layout import Views
from gradproof.nn.network import Network
from gradproof.nn.plan import Plan, Segment
from gradproof.nn.structure import Structure

if TYPE_CHECKING:
    from gradproof.train.history import History
    from gradproof.train.session import Session

Array = NDArray[Any]
Tape: TypeAlias = list[tuple[Array, Any]]
"""Per segment its input, and what its backward needs: the workspace of a plan, the cache of a Python layer."""

_INFERENCE_ROWS = 4096  # rows at a time without training: enough to fill the cores, and memory stays bounded
_KEPT_WORKSPACES = 4  # a training batch, the short last one of an epoch, and as much again for a validation set


class Sequential(Network):
    """A feed-forward network with its parameters in one flat vector, computed by the C++ core.

    Parameters
    ----------
    layers : list
        Built-in layers (:class:`~gradproof.nn.layers.Dense` and so on) and instances of your own subclasses
        of :class:`~gradproof.nn.layers.Layer`.
    input_size : int
        Features per row, ``n_in`` of the first layer.
    loss : {"softmax_cross_entropy", "hinge", "binary_cross_entropy", "mse"}
        The first three work on scores: no Softmax or Sigmoid goes before them.
    l1, l2 : float
        Strength of the penalties ``l1/(2M) sum |W|`` and ``l2/(2M) sum W^2``.
    dtype : {"float32", "float64"}
        Of the parameters and of all arithmetic. Models of both kinds with one seed start from the same numbers.
    seed : int
        What the initial parameters and the dropout masks are made from. Dropout and BatchNorm, put in or taken out,
        leave the start of all other layers as it was.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what came and what is expected.

    Warns
    -----
    UserWarning
        If the last layer is one that the loss applies by itself, such as Softmax before ``softmax_cross_entropy``.

    Notes
    -----
    One thread at a time may train a model; any number may call ``forward``, ``predict`` and ``loss``.

    Examples
    --------
    >>> model = Sequential([Dense(16), ReLU(), Dense(3)], input_size=4, loss="softmax_cross_entropy")
    >>> loss, gradient = model.loss_and_gradient(X, y)
    """

    _workspaces: dict[tuple[int, int], Array]
    _session: Session | None  # compiled training steps, with the optimizer that was used last

    def _use(self, structure: Structure) -> None:
        super()._use(structure)
        self._segments: tuple[Segment, ...] = plan.compile(structure)
        self._workspaces = {}
        self._session = None

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The steps of the network: compiled plans of built-in layers, and the nodes of Python layers."""
        return self._segments

    def __getstate__(self) -> dict[str, Any]:
        # Copies, conversions and pickles start without.
        return {
            key: value for key, value in self.__dict__.items() if key not in ("_segments", "_workspaces", "_session")
        }

    def step(
        self,
        x: ArrayLike,
        y: ArrayLike,
        optimizer: Any,
        state: Any,
        learning_rate: float | None = None,
        *,
        rows: int | None = None,
    ) -> float:
        session = self._session
        if session is not None and rows is None and session.serves(optimizer, state, ()):
            loss = session.step(x, y, learning_rate)
            if loss is not None:
                return loss
        return super().step(x, y, optimizer, state, learning_rate, rows=rows)

    step.__doc__ = Network.step.__doc__

    def fit(
        self,
        X: Any,
        y: Any,
        *,
        optimizer: Any = None,
        schedule: Any = None,
        epochs: int = 20,
        batch_size: int | None = None,
        validation_data: Any = None,
        callbacks: Any = (),
        progress: Any = None,
        seed: int = 0,
        sample_weight: Any = None,
        class_weight: Any = None,
        frozen: Any = (),
        shuffle: bool = True,
        augment: Any = None,
        monitor: bool = True,
        score: bool = True,
        resume: Any = None,
    ) -> History:
        """Train on mini-batches, from the weights as they are; see :func:`gradproof.train.fit.fit`."""
        from gradproof.train.fit import fit

        return fit(
            self,
            X,
            y,
            optimizer=optimizer,
            schedule=schedule,
            epochs=epochs,
            batch_size=batch_size,
            validation_data=validation_data,
            callbacks=callbacks,
            progress=progress,
            seed=seed,
            sample_weight=sample_weight,
            class_weight=class_weight,
            frozen=frozen,
            shuffle=shuffle,
            augment=augment,
            monitor=monitor,
            score=score,
            resume=resume,
        )

    def save(self, path: Any) -> None:
        """Write the model to a safetensors file, see :func:`gradproof.nn.serialize.save`."""
        from gradproof.nn import serialize

        serialize.save(self, path)

    def to_onnx(self, path: Any, *, probabilities: bool = False) -> None:
        """Write the network to an ONNX file, see :func:`gradproof.interop.onnx.save_onnx`."""
        from gradproof.interop import onnx

        onnx.save_onnx(self, path, probabilities=probabilities)

    def _forward(self, X: Array, training: bool) -> tuple[Array, Tape]:
        tape: Tape = []
        for index, segment in enumerate(self._segments):
            if not isinstance(segment, Plan):
                Y, kept = python_layer.forward(segment, X, self.parameters, training)
            elif training:
                Y, kept = self._run(segment, X, self._borrow(index, segment, len(X)), True)
            else:
                Y, kept = self._infer(segment, X), None
            tape.append((X, kept))
            X = Y
        return X, tape

    def _backward(self, dscores: Array, tape: Tape, gradient: Array) -> None:
        dy = dscores
        for index in reversed(range(len(tape))):
            segment, (X, kept) = self._segments[index], tape[index]
            if isinstance(segment, Plan):
                dx = np.empty_like(X) if index else None
                _core.network_backward(segment.ops, segment.scalars, self._theta, X, dy, gradient, dx, kept)
            else:
                dx = python_layer.backward(segment, dy, kept, self.parameters, Views(self.layout, gradient))
            if dx is not None:
                dy = dx

    def _data_loss(self, scores: Array, targets: Array) -> tuple[float, Array]:
        dscores = np.empty_like(scores)
        value: float = getattr(_core, self.loss_name)(dscores, scores, targets, *self._loss.options)
        return value, dscores

    def _add_penalty(self, kind: str, strength: float, W: Array, dW: Array | None) -> float:
        value: float = (_core.l1 if kind == "l1" else _core.l2)(dW, W, strength)
        return value

    def _update_statistics(self, tape: Tape) -> None:
        for segment, (X, kept) in zip(self._segments, tape, strict=True):
            if isinstance(segment, Plan):
                _core.network_update_statistics(segment.ops, segment.scalars, self._buffers, kept, len(X))

    def _run(self, segment: Plan, X: Array, workspace: Array, training: bool) -> tuple[Array, Array]:
        Y = np.empty((len(X), segment.n_out), self._dtype)
        _core.network_forward(
            segment.ops,
            segment.scalars,
            self._theta,
            self._buffers,
            X,
            Y,
            workspace,
            training,
            self._seed,
            self.dropout_step,
        )
        return Y, workspace

    def _infer(self, segment: Plan, X: Array) -> Array:
        blocks = [X[start : start + _INFERENCE_ROWS] for start in range(0, len(X), _INFERENCE_ROWS)]
        outputs = [self._run(segment, block, self._workspace(segment, len(block)), False)[0] for block in blocks]
        return outputs[0] if len(outputs) == 1 else np.concatenate(outputs)

    # A workspace is taken out of the store while it is in use, so that threads never share one.

    def _workspace(self, segment: Plan, m: int) -> Array:
        return np.empty(_core.network_workspace_size(segment.ops, m), self._dtype)

    def _borrow(self, index: int, segment: Plan, m: int) -> Array:
        kept = self._workspaces.pop((index, m), None)
        return self._workspace(segment, m) if kept is None else kept

    def _release(self, tape: Tape | None) -> None:
        if len(self._workspaces) > _KEPT_WORKSPACES * len(self._segments):
            self._workspaces.clear()
        for index, (X, kept) in enumerate(tape or ()):
            if isinstance(self._segments[index], Plan) and kept is not None:
                self._workspaces[index, len(X)] = kept
