"""Other people's logs as runs of ours: `rlm-eval import KIND FILES -o RUN`.

One module of `kinds` per format, one YAML file of `maps` per known table of rows; both are found
by being there. A reader yields `rows.Row`s; `assemble` makes samples, cells and outcomes of them,
and `writer` a run directory, whole or not at all. What a log does not say is `None`, everywhere.
"""
