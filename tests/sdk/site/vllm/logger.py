"""Log lines in vLLM's form on stderr."""

from __future__ import annotations

import logging
import sys

_FORM = "%(levelname)s %(asctime)s [%(filename)s:%(lineno)d] %(message)s"


def init_logger(name: str) -> logging.Logger:
    """A logger whose lines look like vLLM's."""
    for package in ("vllm", "vllm_neuron"):
        logger = logging.getLogger(package)
        if not logger.handlers:
            handler = logging.StreamHandler(sys.stderr)
            handler.setFormatter(logging.Formatter(_FORM, "%m-%d %H:%M:%S"))
            logger.addHandler(handler)
            logger.setLevel(logging.INFO)
            logger.propagate = False
    return logging.getLogger(name)
