"""The worker and its loader."""
