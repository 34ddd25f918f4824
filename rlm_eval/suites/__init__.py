"""Named benchmarks: `benchmarks/<suite>/` holds cells, planned comparisons and published numbers.

`schema` reads suite.yaml and expected.csv, `plan` makes cells of them, `comparisons` reports the
results, `publish` keeps the small files. Not a runner: cells run like those of `rlm-eval run`.
"""
