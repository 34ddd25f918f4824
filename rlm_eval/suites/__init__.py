"""Named benchmarks: `benchmarks/<suite>/` holds what is run, compared and known beforehand.

`schema` reads suite.yaml and expected.csv, `plan` makes cells of them, `comparisons` says what came
out, `publish` keeps the small files. Not a runner: cells run as those of `rlm-eval run` do.
"""
