"""Runs the cells: from a sample to a trajectory and a score, and resumes."""
