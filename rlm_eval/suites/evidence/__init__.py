"""Evidence behind published numbers: seals, verification, and what a bundle's README claims."""
