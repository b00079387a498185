"""The token for the hub that the client sends with its questions, and where it found it."""

from __future__ import annotations

from dataclasses import dataclass

from neuronctl.errors import ModelNotResolved
from neuronctl.host import Host
from neuronctl.model.hub_place import token_file
from neuronctl.model.hub_setting import check_importable

_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")


@dataclass(frozen=True)
class HubToken:
    """The token that the client sends, and where it was found: a variable, or a file."""

    text: str
    source: str
    is_variable: bool

    def __repr__(self) -> str:
        return f"HubToken(from {self.source})"

    @property
    def is_possible(self) -> bool:
        """Whether it can be sent in a header: libraries quote one that cannot in their errors."""
        return self.text.isascii() and self.text.isprintable() and " " not in self.text


def find_token(host: Host) -> HubToken | None:
    """The token that the client finds, and where. Raises ModelNotResolved where it cannot get one."""
    check_importable(host)
    from huggingface_hub import get_token

    try:
        text = get_token()
    except OSError as error:
        raise ModelNotResolved(f"{error.filename or 'the token'} cannot be read: {error.strerror}") from None
    except Exception as error:  # its words may quote what it read
        raise ModelNotResolved(f"the hub's client cannot get a token ({type(error).__name__})") from None
    if text is None:
        return None
    for variable in _VARIABLES:
        if text == _clean(host.environ.get(variable, "")):
            return HubToken(text, variable, is_variable=True)
    if host.environ.get("HF_OIDC_RESOURCE"):
        return HubToken(text, "HF_OIDC_RESOURCE", is_variable=True)
    return HubToken(text, str(token_file(host)), is_variable=False)


def _clean(text: str) -> str:
    """As the client cleans what it finds (utils/_auth.py, _clean_token)."""
    return text.replace("\r", "").replace("\n", "").strip()
