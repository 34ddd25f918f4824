"""One module per command of `rlm-eval`; see `rlm_eval.cli`."""
