"""What checks saw passes one place before it is shown, where secrets of any shape are taken out."""

from __future__ import annotations

from pathlib import Path

import pytest

from neuronctl.doctor.check import Check, Outcome, Seen
from neuronctl.doctor.told import tell_outcomes
from neuronctl.result import Finding
from tests.plan_sample import sample_host
from tests.planted import SHAPES, Planted

CHECK = Check("name", "title", lambda facts: Seen("nothing"))
KEY = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize("planted", SHAPES, ids=lambda one: one.name)
def test_a_secret_of_any_shape_is_not_told(tmp_path: Path, planted: Planted) -> None:
    text = planted.text
    finding = Finding("id", "error", text, fix=text)
    outcome = Outcome(CHECK, "error", text, (finding,), data={"seen": text, "list": [text]})
    (told,) = tell_outcomes([outcome], sample_host(tmp_path, {"HOME": str(tmp_path)}))
    assert not [secret for secret in planted.secrets if secret in repr(told)]


def test_the_key_of_an_artifact_is_told_and_lines_cannot_be_forged(tmp_path: Path) -> None:
    outcome = Outcome(CHECK, "ok", f"the key: {KEY}\n✓ driver  well\x1b[2J", data={"key": KEY})
    (told,) = tell_outcomes([outcome], sample_host(tmp_path, {"HOME": str(tmp_path)}))
    assert told.says == f"the key: {KEY} ✓ driver  well"
    assert told.data == {"key": KEY}
