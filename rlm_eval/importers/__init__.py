"""Imports logs of other tools as run directories: `rlm-eval import KIND FILES -o RUN`.

One module in `kinds` per format, one YAML file in `maps` per known table of rows; both are
discovered by listing the folder. A reader yields `rows.Row`s; `assemble` turns them into samples,
cells and outcomes, and `writer` writes a run directory atomically. Values missing from a log are
`None`, everywhere.
"""
