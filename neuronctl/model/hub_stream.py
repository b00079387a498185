"""Hub stream: an answer of the hub, of which only what is asked for is read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# Of what the older client receives, less than a piece is lost where the connection ends.
_PIECE_BYTES = 64 << 10


@contextmanager
def open_stream(
    url: str, *, start: int = 0, end: int | None = None, timeout_s: float
) -> Iterator[tuple[int, Iterator[bytes]]]:
    """Ask for the bytes of a file from `start` to before `end`: the status, and the blocks of what comes.

    One request, with redirects, through the client's own session, token and proxies; it is not asked again
    here. Raises what the client raises.
    """
    from huggingface_hub.utils import (  # type: ignore[attr-defined]
        build_hf_headers,
        get_session,
        hf_raise_for_status,
    )

    # Compressed, an answer has neither the length nor the ranges of the file.
    headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
    if start or end is not None:
        headers["Range"] = f"bytes={start}-{'' if end is None else end - 1}"
    session: Any = get_session()
    if callable(getattr(session, "stream", None)):  # since 1.0; what requests calls so is no function
        with session.stream("GET", url, headers=headers, timeout=timeout_s) as response:
            if response.status_code >= 400:
                response.read()
            hf_raise_for_status(response)
            yield response.status_code, response.iter_bytes()
    else:
        with session.get(url, headers=headers, timeout=timeout_s, stream=True) as response:
            hf_raise_for_status(response)
            yield response.status_code, response.iter_content(_PIECE_BYTES)
