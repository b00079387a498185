"""The parser, from version 0.12 on."""

from stand_in_sdk import release

if release("vllm") < (0, 12):
    raise ModuleNotFoundError(f"No module named {__name__!r}", name=__name__)

from vllm.utils._parser import FlexibleArgumentParser

__all__ = ["FlexibleArgumentParser"]
