"""What guidellm found: its report file, as records.

guidellm keeps of each answer when the first and the last text came, and none of those between: its records
have no ITL. Its times are of the machine's wall clock.
"""

import re
from pathlib import Path

import msgspec
from msgspec import Struct

from neuronctl.bench.record import Record, Sent
from neuronctl.errors import NeuronctlError, ServerNotReady

# guidellm counts it up when it breaks the shape of its file.
_VERSION = 2


class _Times(Struct):
    """Seconds since the epoch."""

    resolve_start: float | None
    resolve_end: float | None
    request_start: float | None
    first_token_iteration: float | None
    last_token_iteration: float | None


class _Info(Struct):
    timings: _Times
    error: str | None


class _Request(Struct):
    info: _Info
    prompt_tokens: int | None
    output_tokens: int | None


class _Requests(Struct):
    successful: list[_Request]
    errored: list[_Request]
    incomplete: list[_Request]


class _Benchmark(Struct):
    requests: _Requests


class _Metadata(Struct):
    version: int


class _Head(Struct):
    metadata: _Metadata


class _Report(_Head):
    benchmarks: list[_Benchmark]


def read_report(path: Path, requests: int) -> Sent:
    """The records of a report, in the order of their starts.

    Raises NeuronctlError for a file that is none, is not whole, or tells of fewer than `requests`.
    """
    try:
        content = path.read_bytes()
        version = msgspec.json.decode(content, type=_Head).metadata.version
        if version != _VERSION:
            raise _odd(path, f"has version {version} at $.metadata.version; neuronctl reads {_VERSION}")
        report = msgspec.json.decode(content, type=_Report)
    except OSError as error:
        raise _odd(path, f"cannot be read: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _odd(path, f"is not what guidellm writes: {error}") from None
    if len(report.benchmarks) != 1:
        raise _odd(path, f"has {len(report.benchmarks)} runs at $.benchmarks instead of one")
    return _sent(path, report.benchmarks[0].requests, requests)


def _sent(path: Path, found: _Requests, requests: int) -> Sent:
    groups = ((found.successful, None), (found.errored, "errored"), (found.incomplete, "cancelled"))
    told = [(one, _started(path, one), otherwise) for group, otherwise in groups for one in group]
    if len(told) < requests:
        raise _odd(path, f"tells of {len(told)} of {requests} requests")
    begin = min((start for _, start, _ in told), default=0.0)
    end = max((one.info.timings.resolve_end or start for one, start, _ in told), default=0.0)
    records = sorted(
        (_record(path, one, start, begin, otherwise) for one, start, otherwise in told),
        key=lambda record: record.start_s or 0.0,
    )
    return Sent(tuple(records), end - begin, raw=path.name)


def _started(path: Path, one: _Request) -> float:
    """When it was sent; one that failed before that has only the moment at which it was its turn."""
    times = one.info.timings
    start = times.request_start if times.request_start is not None else times.resolve_start
    if start is None:
        raise _odd(path, "has a request without a start at info.timings.request_start")
    return start


def _record(path: Path, one: _Request, start: float, begin: float, otherwise: str | None) -> Record:
    times = one.info.timings
    first, last = times.first_token_iteration, times.last_token_iteration
    if first is not None and last is not None and not start <= first <= last:
        raise ServerNotReady(
            f"{path} has a token before its request: the machine's clock was set back during the run",
            fix="measure again",
            code="bench.odd-raw-file",
        )
    error = otherwise
    if otherwise == "errored":
        error = kind_of(one.info.error or otherwise)
    elif otherwise is None and first is None:
        error = "no tokens"
    return Record(
        start_s=start - begin,
        ttft_s=None if first is None else first - start,
        itls_s=(),
        e2e_s=None if last is None else last - start,
        input_tokens=one.prompt_tokens or 0,
        output_tokens=one.output_tokens or 0,
        error=error,
    )


_STATUS = re.compile(r"'(\d{3}) [^']+' for url")
_CONNECTION = ("ConnectError", "ReadError", "WriteError", "CloseError", "RemoteProtocolError")


def kind_of(error: str) -> str:
    """A failure in a word or two, the same as for the other engine. guidellm keeps an exception's repr."""
    name, _, said = error.partition("(")
    if status := _STATUS.search(said):
        return f"HTTP {status[1]}"
    if "incomplete" in said or name == "JSONDecodeError":
        return "answer cut"
    if name in _CONNECTION:
        return "connection"
    return "timeout" if name.endswith(("Timeout", "TimeoutError")) else name[:60]


def _odd(path: Path, why: str) -> NeuronctlError:
    log = path.with_name("guidellm.log")
    return ServerNotReady(f"{path} {why}", fix=f"see {log}", code="bench.odd-raw-file")
