"""Gradient checks: the measurement, its reading and its report."""
