"""A stand-in for vLLM: parser, configuration, platform and server of the real names, without a model."""

from stand_in_sdk import version

__version__ = version("vllm")
