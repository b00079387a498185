"""Helpers; the parser is here only in versions before 0.12."""

from stand_in_sdk import release

if release("vllm") < (0, 12):
    from vllm.utils._parser import FlexibleArgumentParser

    __all__ = ["FlexibleArgumentParser"]
