"""How models recurse, as a result of its own: the recursion profile (docs/profile.md)."""
