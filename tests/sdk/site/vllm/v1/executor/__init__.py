"""Who drives the workers."""
