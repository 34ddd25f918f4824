"""Intervals, tests and verdicts from numbers. Pure functions that read no file."""
