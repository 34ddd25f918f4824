"""One module per command of `rlm-eval`; see `rlm_eval.cli`."""

TRUST = "let the run's manifest import code outside rlm_eval: only where you made or read it"
"""Help of `--trust`, see `rlm_eval.config.trust`."""
