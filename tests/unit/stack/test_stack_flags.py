"""vLLM's flags by version: as they were measured, and what is concluded from that."""

from __future__ import annotations

import pytest

from neuronctl.profile.schema import EngineSection
from neuronctl.stack.compat import sdks
from neuronctl.stack.flags import check_flag
from tests.reference import reference

ROWS: dict[str, dict[str, str]] = reference("measured")["flags"]["rows"]
# A second word that stands for something, or says how it was tried, and is no value.
NO_VALUE = {"JSON", "not-JSON", "M", "(underscore)", "(abbreviation)", "alone"}
# Rows that are about more than one flag and its value.
COMBINED = {
    "--enable-auto-tool-choice --tool-call-parser hermes",
    "--enable-auto-tool-choice alone",
    "--lora-modules without --enable-lora",
    "--served-model-name a b",
}
CASES = [
    (tried, version, answer)
    for tried, answers in ROWS.items()
    if tried not in COMBINED
    for version, answer in answers.items()
]


@pytest.mark.parametrize(("tried", "version", "said"), CASES, ids=lambda text: text[:40])
def test_every_measured_answer(tried: str, version: str, said: str) -> None:
    flag, _, value = tried.partition(" ")
    answer = check_flag(version, flag, value if value and value not in NO_VALUE else None)
    expected = {"yes": True, "the two entry points differ": None}.get(said, False)
    assert answer.accepted is expected
    assert (answer.measured_on, answer.inferred) == (version, False)
    if expected is not True:
        assert answer.reason == " ".join(said.removeprefix("no: ").split())


@pytest.mark.parametrize("version", ["0.11.0", "0.16.0", "0.24.0", "0.32.0"])
def test_flags_that_were_tried_together(version: str) -> None:
    for flag in ("--tool-call-parser", "--enable-auto-tool-choice", "--lora-modules", "--served-model-name"):
        answer = check_flag(version, flag)
        assert (answer.accepted, answer.measured_on) == (True, version)


@pytest.mark.parametrize(
    ("version", "flag", "value", "accepted", "measured_on", "inferred"),
    [
        ("0.13.0", "--block-size", "256", False, "0.11.0", True),
        ("0.11.0", "--block-size", "64", True, "0.11.0", False),
        ("0.16.0", "--block-size", "256", True, "0.16.0", False),
        ("0.16.0", "--block-size", "512", False, "0.16.0", False),
        ("0.21.0", "--block-size", "512", False, "0.16.0", True),
        ("0.24.0", "--block-size", "512", True, "0.24.0", True),
        ("0.16.0", "--dtype", "float16", True, "0.16.0", False),
        ("0.16.0", "--dtype", "int8", False, "0.16.0", False),
        ("0.16.0", "--num-gpu-blocks-override", "65", True, "0.16.0", True),
        ("0.24.0", "--swap-space", "8", False, "0.24.0", False),
        ("0.24.0", "--additional_config", None, True, "0.24.0", False),
        ("0.33.1", "--seed", "1", True, "0.32.0", True),
        ("0.10.0", "--seed", "1", None, None, False),
        ("0.11.0", "--enable-lora", None, True, None, True),
        ("0.32.0", "--enable-lora", None, True, None, False),
        ("0.32.0", "--no-enforce-eager", None, True, None, False),
        ("0.33.0", "--enable-lora", None, None, None, False),
        ("0.16.0", "--language-model-only", None, None, None, False),
    ],
)
def test_what_is_concluded(
    version: str,
    flag: str,
    value: str | None,
    accepted: bool | None,
    measured_on: str | None,
    inferred: bool,
) -> None:
    answer = check_flag(version, flag, value)
    assert (answer.accepted, answer.measured_on, answer.inferred) == (accepted, measured_on, inferred)
    assert answer.reason
    assert (answer.source is None) == (accepted is None and not answer.reason.startswith(f"{flag} is known"))


VERSIONS = sorted({plugin.vllm for sdk in sdks() for plugin in sdk.plugins if plugin.generation != "v0"})


@pytest.mark.parametrize("version", [*VERSIONS, "0.32.0"])
def test_every_argument_of_a_profile_is_known(version: str) -> None:
    server = ("model", "host", "port", "api_key", "additional_config", "trust_remote_code", "revision")
    names = [name for name in EngineSection.__struct_fields__ if name != "extra"]
    refused = {name for name in (*names, *server) if not check_flag(version, f"--{name}").accepted}
    assert refused == ({"swap_space"} if version in ("0.24.0", "0.32.0") else set())
