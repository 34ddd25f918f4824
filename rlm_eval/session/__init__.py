"""The one meter: every model call of a sample goes through a `Session`."""
