"""`python -m vllm.entrypoints.openai.api_server`: the stand-in server."""

import runpy
from pathlib import Path

if __name__ == "__main__":
    runpy.run_path(str(Path(__file__).parents[4] / "stand_in_vllm.py"), run_name="__main__")
