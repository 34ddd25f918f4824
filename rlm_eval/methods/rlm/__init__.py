"""The Recursive Language Model (arXiv:2512.24601): `RLM` is the method, the rest its parts."""

from rlm_eval.methods.rlm.method import RLM

__all__ = ["RLM"]
