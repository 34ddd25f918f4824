"""Types, errors and pure helpers for every room; imports no other room."""
