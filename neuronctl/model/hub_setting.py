"""Hub settings: variables of the environment with which the hub cannot be reached at all."""

from __future__ import annotations

from urllib.parse import urlsplit

from neuronctl.errors import ModelNotResolved
from neuronctl.host import Host
from neuronctl.secret import hide_passwords

_PROXIES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
_PROXY_SCHEMES = ("http", "https", "socks4", "socks4a", "socks5", "socks5h")
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
# What the client reads as whole numbers while it is imported (huggingface_hub/constants.py).
_NUMBERS = ("HF_HUB_ETAG_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT", "HF_HUB_LOCAL_DIR_AUTO_SYMLINK_THRESHOLD")


def check_importable(host: Host) -> None:
    """Raise ModelNotResolved for a variable with which the client could not even be imported."""
    if (endpoint := host.environ.get("HF_ENDPOINT")) and not _can_be_split(endpoint):
        raise _bad_endpoint(endpoint)
    for name in _NUMBERS:
        said = host.environ.get(name)
        try:
            int(said if said is not None else "0")
        except ValueError:
            raise ModelNotResolved(
                f"{name}={said!r} is no whole number",
                fix=f"unset {name}, or set it to seconds, as in {name}=30"
                if "TIMEOUT" in name
                else f"unset {name}",
                code="model.bad-setting",
            ) from None


def find_bad_setting(host: Host) -> ModelNotResolved | None:
    """The error for a variable that cannot be right, to be asked where the hub could not be asked anything.

    Not before: what the client in use does not read, it does not mind.
    """
    said = host.environ
    if (endpoint := said.get("HF_ENDPOINT")) and not _is_address(endpoint, ("http", "https")):
        return _bad_endpoint(endpoint)
    for name in _PROXIES:
        proxy = said.get(name)
        if proxy and not _is_address(proxy if "://" in proxy else f"http://{proxy}", _PROXY_SCHEMES):
            return _bad(name, proxy, "is no address of a proxy", f"as in {name}=http://proxy.example:3128")
    for name in _CERTIFICATES:
        if (path := said.get(name)) and not host.expand(path).exists():
            return _bad(name, path, "is not there", "to a file with certificates")
    return None


def _bad_endpoint(said: str) -> ModelNotResolved:
    return _bad("HF_ENDPOINT", said, "is no address", "as in HF_ENDPOINT=https://huggingface.co")


def _bad(name: str, said: str, why: str, to_what: str) -> ModelNotResolved:
    return ModelNotResolved(
        f"{name}={hide_passwords(said)} {why}",
        fix=f"unset {name}, or set it {to_what}",
        code="model.bad-setting",
    )


def _is_address(said: str, schemes: tuple[str, ...]) -> bool:
    if not _can_be_split(said):
        return False
    parts = urlsplit(said)
    return parts.scheme in schemes and bool(parts.hostname)


def _can_be_split(said: str) -> bool:
    try:
        _ = urlsplit(said).port  # raises ValueError for what is none
    except ValueError:
        return False
    return True
