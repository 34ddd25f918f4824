"""The page of a report and the viewer of trajectories."""
