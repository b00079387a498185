"""Types that several threads use for the first time at once, as doctor's checks do."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys, threading
import msgspec
from neuronctl.typed import convert, decode_json

sys.setswitchinterval(1e-6)
for number in range(150):
    inner = msgspec.defstruct("Inner", [(f"i{n}", int | None, None) for n in range(40)])
    kind = msgspec.defstruct("Kind", [(f"f{n}", inner | None, None) for n in range(20)])
    together = threading.Barrier(6)

    def use(each: int) -> None:
        together.wait()
        made = convert({"f1": {"i1": 5}}, kind) if each % 2 else decode_json(b'{"f1": {"i1": 5}}', kind)
        assert made.f1.i1 == 5

    threads = [threading.Thread(target=use, args=(each,)) for each in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""


def test_a_type_that_many_threads_use_first() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
