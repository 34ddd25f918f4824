"""From YAML and overrides to checked cells, and the identity of a cell."""
