"""The checks: a module for each part of the world that they look at."""
