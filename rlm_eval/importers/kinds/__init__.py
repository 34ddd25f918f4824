"""One module per format of foreign logs, discovered by listing this folder.

A module's name is the kind, the first line of its docstring its help text, and
`read(sources, options) -> Iterator[Row]` its only required function. `SUFFIXES` selects its files
in a folder.
"""
