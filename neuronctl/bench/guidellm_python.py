"""Where guidellm is: a Python that has it, in an environment of its own. Nothing is installed here."""

from __future__ import annotations

import shutil
from pathlib import Path

from neuronctl.bench.schema import Engine
from neuronctl.errors import StackUnfit
from neuronctl.host import Host
from neuronctl.stack.install import pip_words
from neuronctl.stack.version import at_least

VARIABLE = "NEURONCTL_GUIDELLM_PYTHON"
# The first whose `guidellm run` takes its whole order from one file.
_OLDEST = "0.8"
_ANSWER_S = 60.0
_INSTALL = "python3 -m venv ~/guidellm && ~/guidellm/bin/python -m pip install guidellm"
_NAME = "--engine-python ~/guidellm/bin/python"
_ASK = """
from importlib.metadata import PackageNotFoundError, version
try:
    print("guidellm", version("guidellm"))
except PackageNotFoundError:
    print("guidellm", "missing")
"""


def find_guidellm(host: Host, named: str | None) -> Engine:
    """guidellm's version and the Python that has it, without importing it. Raises StackUnfit.

    `named` is what `--engine-python` said: a Python, its virtual environment, or its command
    `guidellm`. Otherwise the variable says it, otherwise `guidellm` is looked for on PATH.
    """
    python, chosen_by = _choose(host, named)
    version = _version(host, python, chosen_by)
    if not at_least(version, _OLDEST):
        raise _unfit(
            f"{python} ({chosen_by}) has guidellm {version}; neuronctl needs {_OLDEST} or newer",
            pip_words(python, "install", "--upgrade", "guidellm"),
        )
    return Engine(name="guidellm", version=version, python=str(python))


def _choose(host: Host, named: str | None) -> tuple[Path, str]:
    chosen_by = "--engine-python" if named else VARIABLE
    if said := named or host.environ.get(VARIABLE):
        path = _path(host, said)
        if path is None:
            raise _unfit(f"{chosen_by} names {said}, which is not there", f"{_INSTALL}; then {_NAME}")
    else:
        chosen_by = "guidellm on PATH"
        path = _path(host, "guidellm")
        if path is None:
            raise _unfit("there is no guidellm on PATH, and none was named", f"{_INSTALL}; then {_NAME}")
    return _python_of(path, chosen_by), chosen_by


def _path(host: Host, said: str) -> Path | None:
    """A path, or a command's place on PATH."""
    if "/" not in said:
        found = shutil.which(said, path=host.environ.get("PATH"))
        return host.cwd / found if found else None
    path = host.expand(said)
    return path if path.exists() else None


def _python_of(path: Path, chosen_by: str) -> Path:
    """The Python of an environment, or of a command in it: pip, pipx and uv put both into one folder."""
    if path.is_dir():
        return path / "bin" / "python"
    if not path.name.startswith("guidellm"):
        return path
    folder = path.resolve().parent
    for name in ("python", "python3"):
        if (folder / name).exists():
            return folder / name
    raise _unfit(
        f"{path} ({chosen_by}) has no Python beside it", f"name the Python that has guidellm: {_NAME}"
    )


def _version(host: Host, python: Path, chosen_by: str) -> str:
    done = host.run([str(python), "-c", _ASK], timeout_s=_ANSWER_S)
    word, _, version = (done.stdout.strip().splitlines() or [""])[-1].partition(" ")
    if done.why is not None or word != "guidellm":
        why = done.why or "printed something else than was asked for"
        raise _unfit(f"{python} ({chosen_by}) does not work as a Python: it {why}", f"name another: {_NAME}")
    if version == "missing":
        raise _unfit(f"{python} ({chosen_by}) has no guidellm", pip_words(python, "install", "guidellm"))
    return version


def _unfit(what: str, fix: str) -> StackUnfit:
    return StackUnfit(what, fix=fix, code="stack.no-guidellm")
