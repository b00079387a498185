"""A package that looks like vLLM to whoever inspects or runs it; the server is `stand_in_vllm.py`."""

__version__ = "0.32.0"
