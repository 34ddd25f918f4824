"""Cluster jobs of a sweep, and model servers shared by several jobs."""
