"""Before a run: cost, statistical power, GPUs and downloads."""
