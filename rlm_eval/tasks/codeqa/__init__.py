"""Questions about code: LongBench CodeQA and generated repositories."""
