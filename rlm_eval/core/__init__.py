"""Types, errors and pure helpers for every room; imports no other room."""

from rlm_eval.core import loaded as _loaded  # noqa: F401 - before a user's modules are imported
