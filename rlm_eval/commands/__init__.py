"""One module per command of `rlm-eval`; see `rlm_eval.cli`."""

TRUST = (
    "import classes outside rlm_eval that the run's manifest names; only for runs that you made or "
    "have read"
)
"""Help of `--trust`, see `rlm_eval.config.trust`."""
