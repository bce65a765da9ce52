"""Callbacks: what is told how training goes, and may step in."""

from __future__ import annotations

from gradproof.train.callback import Callback
from gradproof.train.callbacks.checkpoint import Checkpoint
from gradproof.train.callbacks.early_stopping import EarlyStopping
from gradproof.train.callbacks.loggers import CSVLogger, JSONLogger
from gradproof.train.callbacks.tensorboard import TensorBoard

__all__ = ["CSVLogger", "Callback", "Checkpoint", "EarlyStopping", "JSONLogger", "TensorBoard"]
