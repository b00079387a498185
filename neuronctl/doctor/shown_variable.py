"""Shown variables: which of the environment a bundle tells with their values, and which by name only."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from neuronctl.secret import HIDDEN, is_secret

# Variables whose values say how this machine serves; of all others only the names are told.
_SHOWN_BEGINNINGS = (
    "NEURON",
    "VLLM_",
    "NXD",
    "NKI_",
    "HF_",
    "XLA_",
    "TORCH",
    "PYTORCH_",
    "OMP_",
    "FI_",
    "MALLOC_",
    "PYTHON",
    "LC_",
    "CONDA_",
)
_SHOWN_NAMES = frozenset(
    {
        "AWS_DEFAULT_REGION",
        "AWS_REGION",
        "BASE_COMPILE_WORK_DIR",
        "CC",
        "CXX",
        "HOME",
        "LANG",
        "LD_LIBRARY_PATH",
        "LD_PRELOAD",
        "NO_COLOR",
        "PATH",
        "PIP_EXTRA_INDEX_URL",
        "PIP_INDEX_URL",
        "REQUESTS_CA_BUNDLE",
        "SHELL",
        "SSL_CERT_FILE",
        "TERM",
        "TMPDIR",
        "TZ",
        "UV_INDEX_URL",
        "VIRTUAL_ENV",
        "XDG_CACHE_HOME",
        "XDG_CONFIG_HOME",
        *(
            name
            for each in ("HTTP", "HTTPS", "ALL", "NO")
            for name in (f"{each}_PROXY", f"{each.lower()}_proxy")
        ),
    }
)


def list_variables(environ: Mapping[str, str], hide: Callable[[str], str]) -> str:
    """All variables by name, a line each; the values of those that matter to serving and look harmless.

    `hide` takes secrets out of a value, whose lines it must see as lines.
    """
    lines = []
    for name in sorted(environ):
        value = environ[name]
        if not (name.startswith(_SHOWN_BEGINNINGS) or name in _SHOWN_NAMES):
            lines.append(f"{_one_line(name)} is set")
        elif is_secret((name,)):
            lines.append(f"{_one_line(name)}={HIDDEN}")
        else:
            lines.append(f"{_one_line(name)}={_one_line(hide(value))}")
    return "\n".join(lines) + "\n"


def _one_line(text: str) -> str:
    return text.replace("\r", "\\r").replace("\n", "\\n")
