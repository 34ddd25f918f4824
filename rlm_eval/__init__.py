"""rlm_eval: benchmark and evaluation harness for Recursive Language Models (arXiv:2512.24601)."""

__version__ = "0.1.0"
