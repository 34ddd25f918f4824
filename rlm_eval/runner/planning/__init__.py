"""Planning before a run: cost, statistical power, GPUs and downloads."""
