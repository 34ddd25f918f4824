"""Runs and resumes cells: sample, trajectory, score."""
