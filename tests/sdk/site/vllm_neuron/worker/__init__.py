"""The worker and what it drives."""
