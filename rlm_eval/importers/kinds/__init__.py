"""One module per format of foreign logs, found by being here.

A module's name is the kind, the first line of its docstring its help, and
`read(sources, options) -> Iterator[Row]` all that it must have. `SUFFIXES` says which files of a
folder are its own.
"""
