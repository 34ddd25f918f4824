"""Counterfactual replay: rerun stored trajectories with one change (docs/replay.md)."""
