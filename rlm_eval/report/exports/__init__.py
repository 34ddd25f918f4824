"""Records and trajectories in the formats of other tools."""
