"""Aggregation over many lines: OOLONG, its pairs, and generated variants."""
