"""Limits and prices: what a call may cost and what it did cost."""
