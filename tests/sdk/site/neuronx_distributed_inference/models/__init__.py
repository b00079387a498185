"""Models and their configurations."""
