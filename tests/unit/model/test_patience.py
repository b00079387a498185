"""Whether the hub is asked again, and after how long."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from huggingface_hub.errors import HfHubHTTPError

from neuronctl.model.patience import Patience

BROKEN_OFF = ConnectionResetError(104, "Connection reset by peer")


def answered(status: int, retry_after: str | None = None) -> HfHubHTTPError:
    headers = {"Retry-After": retry_after} if retry_after else {}
    response = SimpleNamespace(status_code=status, headers=headers, request=None)
    return HfHubHTTPError(str(status), response=response)  # type: ignore[arg-type]


def test_each_pause_once_and_then_no_more() -> None:
    patience = Patience((1.0, 3.0), longest_s=60.0)
    assert [patience.pause_s(answered(503)) for _ in range(4)] == [1.0, 3.0, None, None]


def test_whatever_is_received_anew_gives_all_pauses_again() -> None:
    patience = Patience((1.0, 2.0), longest_s=60.0, received=100)
    received = [100, 100, 150, 150, 150]
    assert [patience.pause_s(BROKEN_OFF, count) for count in received] == [1.0, 2.0, 1.0, 2.0, None]


def test_what_came_before_is_nothing_new() -> None:
    patience = Patience((1.0, 2.0, 4.0), longest_s=60.0)
    # As with a hub that ignores where to go on, and breaks off once here and once there.
    received = [2000, 1000, 2000, 1000, 2000]
    assert [patience.pause_s(BROKEN_OFF, count) for count in received] == [1.0, 2.0, 4.0, None, None]


@pytest.mark.parametrize(("asked", "pause_s"), [("0", 0.0), ("5", 5.0), ("60", 60.0), ("61", None)])
def test_what_the_hub_asks_for_is_waited_in_full_or_not_at_all(asked: str, pause_s: float | None) -> None:
    assert Patience((1.0,), longest_s=60.0).pause_s(answered(429, asked)) == pause_s


def test_a_no_is_a_no() -> None:
    assert Patience((1.0,), longest_s=60.0).pause_s(answered(404)) is None
    assert Patience((1.0,), longest_s=60.0).pause_s(OSError(28, "No space left on device")) is None
