"""The real `neuronctl`, on a machine that is a folder: what stands for `/` is named by TEST_ROOT."""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path

import neuronctl.host
from neuronctl.__main__ import main

if __name__ == "__main__":
    root = Path(os.environ["TEST_ROOT"])
    neuronctl.host.Host = functools.partial(neuronctl.host.Host, root=root)  # type: ignore[misc, assignment]
    sys.exit(main())
