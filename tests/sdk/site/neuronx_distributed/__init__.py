"""A stand-in for NxD."""
