"""Which platform this is: found once, when somebody looks at `current_platform`."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
from typing import Any

from vllm.logger import init_logger

logger = init_logger(__name__)
_CPU = "vllm.platforms.cpu.CpuPlatform"
_found: Any = None


class Platform:
    """What the configuration asks of a platform; by default nothing is changed."""

    device_name = "cpu"
    device_type = "cpu"

    @classmethod
    def pre_register_and_update(cls, parser: Any = None) -> None:
        """A chance to add arguments."""

    @classmethod
    def check_and_update_config(cls, vllm_config: Any) -> None:
        """A chance to change the configuration."""


def resolve_current_platform_cls_qualname() -> str:
    """The name of the platform's class; a plugin that returns None is none."""
    allowed = os.environ.get("VLLM_PLUGINS")
    for entry in importlib.metadata.entry_points(group="vllm.platform_plugins"):
        if allowed is not None and entry.name not in allowed.split(","):
            continue
        if named := entry.load()():
            logger.info("Platform plugin %s is activated", entry.name)
            return str(named)
    logger.info("Automatically detected platform cpu.")
    return _CPU


def __getattr__(name: str) -> Any:
    global _found
    if name != "current_platform":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if _found is None:
        module, _, cls = resolve_current_platform_cls_qualname().rpartition(".")
        _found = getattr(importlib.import_module(module), cls)()
    return _found
