"""Types, errors and pure helpers that every room uses; it imports no other room."""
