"""Tracing and compiling."""
