"""Counterfactual replay: stored trajectories run again with one thing changed (docs/replay.md)."""
