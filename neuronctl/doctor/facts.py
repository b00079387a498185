"""Facts: what several checks look at, found out once.

Checks run side by side, each in a thread of its own. The first that asks for a fact finds it out, and the
others wait for the same answer, or the same error.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from neuronctl.errors import NeuronctlError, StackUnfit
from neuronctl.host import Host, Response
from neuronctl.machine.detect import Machine, detect_machine
from neuronctl.result import Finding
from neuronctl.stack.detect import Stack, detect_stack
from neuronctl.time_limit import TimeUp, within

if TYPE_CHECKING:
    from neuronctl.artifacts.trial import Trial
    from neuronctl.pipeline import Request
    from neuronctl.plan.plan import Plan
    from neuronctl.profile.resolve import Profile
    from neuronctl.rules.rule import Rule
    from neuronctl.rules.situation import Situation
    from neuronctl.short_command import Finished

T = TypeVar("T")
# The serving Python has 20 s to say where its packages are; they may lie on a server of files that hangs.
_STACK_S = 25.0
# What a check may take that asks for the machine or the stack: neuron-ls has 10 s to answer, modinfo 5, each
# file 2. And one that asks for the plan: the hub may be asked, a local model's weights be read.
FACTS_S = 45.0
PLAN_S = 75.0
_OWN = ("http://127.0.0.1", "https://127.0.0.1", "http://[::1]", "https://[::1]", "http://localhost")


class Once(Generic[T]):
    """A value that is made when it is first asked for, by one thread; an error is kept as well."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._made: list[T] = []
        self._error: Exception | None = None

    def __call__(self) -> T:
        with self._lock:
            if not self._made and self._error is None:
                try:
                    self._made.append(self._make())
                except Exception as error:
                    self._error = error
        if self._error is not None:
            raise self._error
        return self._made[0]


@dataclass(frozen=True)
class RememberingHost(Host):
    """A Host that asks each question of a command or a web address once, however many checks ask it.

    What it has of the world it has from `inner`, but for the monotonic clock. `offline`: nobody is asked but
    this machine's own servers.
    """

    inner: Host = field(default_factory=Host)
    _answers: dict[object, Once[object]] = field(default_factory=dict, compare=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, compare=False)

    def run(self, argv: Sequence[str], *, timeout_s: float, env: Mapping[str, str] | None = None) -> Finished:
        """See Host.run."""
        key = ("run", tuple(argv), None if env is None else tuple(sorted(env.items())))
        return cast("Finished", self._once(key, partial(self.inner.run, argv, timeout_s=timeout_s, env=env)))

    def http(
        self,
        method: str,
        url: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 5.0,
    ) -> Response:
        """See Host.http."""
        if self.offline and not url.startswith(_OWN):
            return Response(0, "nobody is asked: --offline")
        ask = partial(self.inner.http, method, url, body=body, headers=headers, timeout_s=timeout_s)
        return cast(Response, self._once(("http", method, url), ask))

    def now(self) -> float:
        """See Host.now."""
        return self.inner.now()

    def port_is_free(self, address: str, port: int) -> bool:
        """See Host.port_is_free."""
        return self.inner.port_is_free(address, port)

    def _once(self, key: object, make: Callable[[], object]) -> object:
        with self._lock:
            answer = self._answers.setdefault(key, Once(make))
        return answer()


class Facts:
    """What is known of this machine, and what the user asked about.

    `request` names the profile that is to run, None where none was named; `python` is the serving Python
    that was named; `offline` asks nobody but this machine. Each fact raises what finding it out raises.
    """

    def __init__(
        self,
        host: Host,
        *,
        request: Request | None = None,
        python: str | None = None,
        offline: bool = False,
    ) -> None:
        self.host: Host = RememberingHost(host.environ, host.cwd, host.root, host, offline=offline)
        self.request = request
        self.machine: Once[Machine] = Once(lambda: detect_machine(self.host))
        self.stack: Once[Stack] = Once(lambda: self._stack(python))
        self.profile: Once[Profile | None] = Once(self._profile)
        self.plan: Once[Plan | None] = Once(self._plan)
        self.store_trial: Once[Trial] = Once(self._try_store)

    @property
    def environ(self) -> Mapping[str, str]:
        return self.host.environ

    @property
    def usable_stack(self) -> Stack | None:
        """The serving Python for whoever asks in passing; None where there is none, which its check says."""
        try:
            return self.stack()
        except NeuronctlError:
            return None

    @property
    def wanted_backend(self) -> str:
        """The backend that the profile names; auto where it names none, or there is no profile."""
        try:
            profile = self.profile()
        except NeuronctlError:  # the check of the profile says so
            return "auto"
        return profile.shape.backend if profile else "auto"

    @property
    def backend(self) -> str:
        """The backend that is meant here: nxdi, native or cpu.

        The profile's, else the one that the serving Python is for. Neuron's where the machine has a Neuron
        device or is a Neuron instance: whoever has these does not mean the processor.
        """
        if (wanted := self.wanted_backend) != "auto":
            return wanted
        stack = self.usable_stack
        has = stack.generation if stack else None
        if has in ("nxdi", "native"):
            return str(has)
        return "nxdi" if self.machine().is_neuron else "cpu"

    @property
    def known_backend(self) -> str | None:
        """The same for whoever asks in passing; None where it cannot be told, which other checks say."""
        try:
            return self.backend
        except NeuronctlError:
            return None

    @property
    def other_generation(self) -> str | None:
        """The generation of the plugin that the serving Python has, where another backend is meant."""
        stack = self.usable_stack
        has = stack.generation if stack else None
        return has if has in ("nxdi", "native") and has != self.backend else None

    def obey(self, rules: Iterable[Rule]) -> tuple[Finding, ...]:
        """What these rules find of machine, software and environment: those about the backend.

        Where Neuron's packages are there, no plugin, and the processor would serve, those about Neuron's too.
        """
        from neuronctl.rules.rule import check
        from neuronctl.stack.installation import IMPORT_NAMES

        rules = tuple(rules)
        stack = self.usable_stack if rules else None
        if stack is None:
            return ()  # they look at it too; what is to be done first, its own check says
        meant = {self.backend}
        is_stray = self.other_generation is None and not stack.versions.keys().isdisjoint(IMPORT_NAMES)
        if meant == {"cpu"} and is_stray:
            meant.add("nxdi")
        found = check((one for one in rules if not meant.isdisjoint(one.backends)), self._situation())
        if self.request is None:  # there is no profile in which anything could be said
            return tuple(replace(finding, place=None) for finding in found)
        return found

    def _stack(self, python: str | None) -> Stack:
        try:
            return within(_STACK_S, lambda: detect_stack(self.host, python))
        except TimeUp as late:
            raise StackUnfit(
                f"looking for the serving Python and its packages {late}",
                fix="name one that answers with --python or NEURONCTL_PYTHON",
                code="stack.no-answer",
            ) from None
        except OSError as error:
            raise StackUnfit(
                f"the serving Python and its packages cannot be looked at: {error.filename or 'a file'}: "
                f"{error.strerror or error}",
                fix="name one that this user may read with --python or NEURONCTL_PYTHON",
                code="stack.unreadable",
            ) from None

    def _profile(self) -> Profile | None:
        from neuronctl.profile.resolve import load_profile

        if self.request is None:
            return None
        return load_profile(
            self.request.reference, self.host, sets=self.request.sets, flags=self.request.flags
        )

    def _plan(self) -> Plan | None:
        from neuronctl.pipeline import plan_request

        return None if self.request is None else plan_request(self.request, self.host)

    def _try_store(self) -> Trial:
        from neuronctl.artifacts.store import Store
        from neuronctl.artifacts.trial import try_out

        return try_out(Store.open(self.host).root)

    def _situation(self) -> Situation:
        from neuronctl.doctor.nobody import bare_situation

        profile = None
        with suppress(NeuronctlError):  # the check of the profile says so
            profile = self.profile()
        return bare_situation(profile, self.backend, self.machine(), self.stack(), self.environ)
