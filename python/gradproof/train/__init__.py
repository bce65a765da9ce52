"""Training: steps, optimizers, schedules, the fit loop and what watches over it."""

from __future__ import annotations
