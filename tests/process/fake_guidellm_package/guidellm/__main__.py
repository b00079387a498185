"""`guidellm run --config FILE --disable-console`, without a server.

`GUIDELLM_STAND_IN` says what it does: nothing for a whole run, `crash`, `hang` (before it sends),
`hang-sending`, `half` (a report that is cut off) or `nothing` (no report at all); `hang-sending@run-2` does
so in the second run alone. What it was told is left beside the report.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

CAPTURED = Path(__file__).parents[3] / "data" / "bench" / "guidellm-0.8.1.json"
BEGINNING = (
    "26-11-23 23:39:13|INFO     |guidellm.benchmark.progress:_log_update:420 - Benchmark 1 (concurrent@2): "
)


def say(status: str, successful: int, errored: int) -> None:
    """A line of progress."""
    counts = f"successful={successful} errored={errored} incomplete=0"
    sys.stderr.write(f"{BEGINNING} (concurrent@2): {status} | elapsed=0.0s | {counts} | requests/s=0.00\n")
    sys.stderr.flush()


def hang(report: Path) -> None:
    """Never end, and leave a worker that would not end either."""
    worker = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"])
    report.with_suffix(".worker").write_text(str(worker.pid))
    time.sleep(600)


def main() -> int:
    """Do what STAND_IN says."""
    scenario = json.loads(Path(sys.argv[sys.argv.index("--config") + 1]).read_text())
    spec = scenario["spec"]
    report = Path(spec["outputs"][0]["path"])
    data = Path(spec["data"][0]["path"]) if "path" in spec["data"][0] else None
    mode, _, where = os.environ.get("GUIDELLM_STAND_IN", "").partition("@")
    if not report.stem.endswith(where):
        mode = ""
    told = {
        "argv": sys.argv,
        "env": dict(os.environ),
        "spec": spec,
        "cwd": os.getcwd(),
        "prompts": data.read_text().splitlines() if data else None,
    }
    report.with_suffix(".told").write_text(json.dumps(told))
    if mode == "crash":
        sys.stderr.write("Traceback (most recent call last):\nOSError: the tokenizer is gone\n")
        return 1
    if mode == "hang":
        hang(report)
    say("started", 0, 0)
    if mode == "hang-sending":
        hang(report)
    say("active", 2, 1)
    say("completed", 4, 4)
    content = CAPTURED.read_text()
    if mode != "nothing":
        report.write_text(content[: len(content) // 2] if mode == "half" else content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
