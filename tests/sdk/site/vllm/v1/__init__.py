"""The engine of the first version."""
