"""From stored trajectories and scores to records: one flat row per sample."""
