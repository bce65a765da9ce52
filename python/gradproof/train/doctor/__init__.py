"""The doctor: reads from a training run what is wrong with it, causes first.

A verdict needs its evidence and, for most, that the run went badly: what looks unusual but does no harm is not named.
Thresholds stand in :mod:`~gradproof.train.doctor.thresholds`, what explains what in
:mod:`~gradproof.train.doctor.causes`.
"""

from __future__ import annotations

from gradproof.train.doctor.diagnosis import diagnose, diagnose_history
from gradproof.train.doctor.symptom import TAGS, Symptom

__all__ = ["TAGS", "Symptom", "diagnose", "diagnose_history"]
