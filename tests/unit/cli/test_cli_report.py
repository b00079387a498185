"""Reports of unexpected errors: written where they can be, and without secrets."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuronctl.cli.invocation import Invocation
from neuronctl.cli.report import our_bug
from neuronctl.errors import Exit
from neuronctl.host import Host

secrets = st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=0x17F), min_size=6, max_size=20).map(
    lambda text: "SwOrDfIsH" + text
)


def call(tmp_path: Path, passthrough: tuple[str, ...] = (), **environ: str) -> Invocation:
    host = Host(environ={"HOME": str(tmp_path), **environ}, cwd=tmp_path)
    return Invocation(host=host, tell=lambda told: None, passthrough=passthrough, command="serve")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def told(text: str, call: Invocation) -> str:
    """All that is shown and written of an error with these words."""
    bug = our_bug(ValueError(text), call, [])
    return bug.what + Path(str(bug.details["report"])).read_text(encoding="utf-8")


@given(secrets, st.sampled_from(["HF_TOKEN", "MY_API_KEY", "db_password"]), st.text(), st.text())
def test_the_value_of_a_secret_variable_never_survives(
    home: Path, secret: str, name: str, before: str, after: str
) -> None:
    shown = told(f"{before}{secret}{after} {secret}", call(home, (), **{name: secret}))
    assert secret not in shown
    assert "SwOrDfIsH" not in shown


@given(secrets, st.booleans())
def test_nor_does_that_of_a_secret_flag(home: Path, secret: str, equals: bool) -> None:
    words = (f"--hf-token={secret}",) if equals else ("--hf-token", secret)
    assert "SwOrDfIsH" not in told(f"ValueError: {secret}", call(home, words))


@pytest.mark.parametrize(
    "text",
    ["Authorization: Bearer SwOrDfIsH12", "https://me:SwOrDfIsH12@proxy/", "{'api_key': 'SwOrDfIsH12'}"],
)
def test_nor_does_what_looks_like_a_secret_by_itself(home: Path, text: str) -> None:
    assert "SwOrDfIsH" not in told(text, call(home))


def failure() -> Exception:
    try:
        raise ValueError("cannot use swordfish-123")
    except ValueError as error:
        return error


def test_the_report_has_what_is_needed_to_mend_it_and_no_secret(tmp_path: Path) -> None:
    bug = our_bug(failure(), call(tmp_path, HF_TOKEN="swordfish-123"), ["serve", "--port", "1"])
    assert (bug.error_code, bug.exit_code) == ("bug", Exit.OUR_BUG)
    assert bug.what == "an unexpected error: ValueError: cannot use (hidden)"
    path = Path(str(bug.details["report"]))
    assert path.parent == tmp_path / ".cache" / "neuronctl" / "reports"
    assert str(path) in str(bug.fix)
    report = path.read_text(encoding="utf-8")
    assert "command: serve\nwords: ['serve', '--port', '1']\n" in report
    assert "Traceback" in report
    assert "ValueError: cannot use (hidden)" in report
    assert "swordfish" not in report


@pytest.mark.parametrize("word", ["engine.extra.hf_token=swordfish", "env.MY_PASSWORD=swordfish"])
def test_what_was_set_on_the_command_line_is_hidden_where_it_looks_secret(tmp_path: Path, word: str) -> None:
    bug = our_bug(ValueError("x"), call(tmp_path), ["plan", "--set", word])
    report = Path(str(bug.details["report"])).read_text(encoding="utf-8")
    assert "swordfish" not in report
    assert word.partition("=")[0] in report


def test_a_home_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "file").touch()
    bug = our_bug(ValueError("x"), call(tmp_path, NEURONCTL_HOME=str(tmp_path / "file")), [])
    assert Path(str(bug.details["report"])).parent == tmp_path
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "file"))
    bug = our_bug(ValueError("x"), call(tmp_path, NEURONCTL_HOME=str(tmp_path / "file")), [])
    assert "no report could be written" in bug.what
    assert bug.details == {}
