"""`python -m vllm.entrypoints.cli.main serve MODEL …`: the stand-in server."""

import runpy
import sys
from pathlib import Path


def main() -> None:
    """Knows the one subcommand that matters."""
    if sys.argv[1:2] != ["serve"]:
        sys.exit("usage: vllm serve [MODEL] [arguments]")
    del sys.argv[1]
    runpy.run_path(str(Path(__file__).parents[4] / "stand_in_vllm.py"), run_name="__main__")


if __name__ == "__main__":
    main()
