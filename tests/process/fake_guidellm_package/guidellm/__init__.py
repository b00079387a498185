"""Stands for guidellm: takes the same order, says the same lines, and writes a report that guidellm wrote."""
