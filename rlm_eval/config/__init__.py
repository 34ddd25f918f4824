"""Compose YAML and overrides into checked cells; compute the identity of a cell."""
