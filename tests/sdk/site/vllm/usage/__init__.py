"""Who uses it."""
