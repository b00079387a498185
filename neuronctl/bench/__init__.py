"""bench: measure a served model as its users feel it; keep, compare and show what was measured."""
