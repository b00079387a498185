"""The real `neuronctl`, on a machine that is a folder: what stands for `/` is named by TEST_ROOT."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import neuronctl.host
from neuronctl.__main__ import main

if __name__ == "__main__":
    root = Path(os.environ["TEST_ROOT"])

    @dataclass(frozen=True)
    class Elsewhere(neuronctl.host.Host):
        root: Path = root

    neuronctl.host.Host = Elsewhere  # type: ignore[misc]
    sys.exit(main())
