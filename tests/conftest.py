"""For all tests: ^C works, also where a shell that runs something in the background made it ignore SIGINT."""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    """What is ignored would be ignored by every process that a test starts, and never end it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
