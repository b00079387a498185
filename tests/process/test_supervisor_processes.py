"""A stand-in vLLM under supervision: every way it can go, and nothing left afterwards."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from neuronctl.backends.phases import Mark, Phase
from neuronctl.child import Launch
from neuronctl.errors import StackUnfit
from neuronctl.host import Host
from neuronctl.serving.probe import ProbeAnswer
from neuronctl.serving.state import Policy, Status
from neuronctl.serving.supervisor import Outcome, ServerEvent, ServerSpec, supervise

STAND_IN = Path(__file__).with_name("stand_in_vllm.py")
PHASES = (
    Phase("load", r"Starting to load model", "loading"),
    Phase("compile", r"Warming up model for the compilation", "compiling"),
    Phase("listen", r"Starting vLLM server on", "loading"),
)
POLICY = Policy(
    ready_timeout_s=20,
    probe_every_s=0.05,
    health_every_s=0.1,
    health_timeout_s=0.5,
    health_failures=2,
    backoff_first_s=0.05,
    stop_int_s=3,
    stop_term_s=1,
    stop_kill_s=10,
    again_after_s=0.05,
)
PROMPT_S = 3.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Stage:
    """One stand-in server, and what was told of it."""

    folder: Path
    behaviour: str
    policy: Policy = POLICY
    act: Callable[[ServerEvent], None] = lambda event: None
    port: int = field(default_factory=free_port)
    events: list[ServerEvent] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, prompt: str = "What is the capital of France?") -> str:
        body = json.dumps({"model": "m", "messages": [{"role": "user", "content": prompt}]}).encode()
        answer = Host().http("POST", self.url + "/v1/chat/completions", body=body, timeout_s=30)
        if answer.status != 200:
            raise RuntimeError(f"status {answer.status}: {answer.body[:100]}")
        return str(json.loads(answer.body)["choices"][0]["message"]["content"])

    def ready(self) -> ProbeAnswer:
        text = self.ask()
        return ProbeAnswer("Paris" in text, text, fatal="Paris" not in text)

    def health(self) -> ProbeAnswer:
        status = Host().http("GET", self.url + "/health", timeout_s=5).status
        return ProbeAnswer(status == 200, f"status {status}")

    def spec(self) -> ServerSpec:
        env = {
            "PATH": os.environ["PATH"],
            "STAND_IN": self.behaviour,
            "VLLM_CACHE_ROOT": str(self.folder / "vllm"),
            "TORCHINDUCTOR_CACHE_DIR": str(self.folder / "inductor"),
        }
        argv = (
            sys.executable,
            str(STAND_IN),
            "--host",
            "127.0.0.1",
            "--port",
            str(self.port),
            "--model",
            "m",
        )
        launch = Launch(argv, env, self.folder, self.folder / "server.log")
        return ServerSpec(launch, self.ready, self.health, PHASES, (Mark("warm", "Warming up done"),))

    def tell(self, event: ServerEvent) -> None:
        self.events.append(event)
        self.act(event)

    def run(self) -> Outcome[None]:
        return supervise(self.spec(), Host(), policy=self.policy, tell=self.tell)

    def kinds(self) -> list[str]:
        return [event.kind for event in self.events if event.kind != "tick"]


def own_children() -> list[int]:
    mine = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = file.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == os.getpid():
            mine.append(int(file.parent.name))
    return mine


def processes_of(folder: Path) -> list[int]:
    """Processes whose environment names the folder."""
    found = []
    for file in Path("/proc").glob("[0-9]*/environ"):
        try:
            if str(folder).encode() in file.read_bytes():
                found.append(int(file.parent.name))
        except OSError:
            continue
    return found


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path: Path) -> Iterator[None]:
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    yield
    assert processes_of(tmp_path) == []
    assert own_children() == []
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before


def send_at(kind: str, phase: str | None, *numbers: int) -> Callable[[ServerEvent], None]:
    """Signals to ourselves at the first event of a kind (and phase)."""
    left = list(numbers)

    def act(event: ServerEvent) -> None:
        if left and event.kind == kind and phase in (None, event.phase):
            numbers, left[:] = list(left), []
            for number in numbers:
                os.kill(os.getpid(), number)

    return act


def test_a_compile_runs_to_ready_works_and_stops(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "compile-s=1")
    outcome = supervise(stage.spec(), Host(), policy=POLICY, tell=stage.tell, when_ready=stage.ask)
    assert outcome.status is Status.STOPPED
    assert outcome.value == "The capital of France is Paris."
    assert (outcome.code, outcome.signal, outcome.stopped_by) == (0, None, None)
    assert list(outcome.phases_s) == ["start", "load", "compile", "listen"]
    assert outcome.phases_s["compile"] > 0.5  # its lines may be read late
    assert outcome.ready_after_s is not None
    assert sum(outcome.phases_s.values()) == pytest.approx(outcome.ready_after_s, abs=0.2)
    assert outcome.marks == {"warm"}
    assert outcome.peak_memory_bytes > 5_000_000
    assert stage.kinds() == ["started", "phase", "phase", "phase", "ready", "stopping", "stopped"]
    assert (tmp_path / "vllm" / "torch_compile_cache").is_dir()
    assert "POST /v1/chat/completions" in (tmp_path / "server.log").read_text()


def test_a_damaged_cache_fails_the_second_start_in_the_compile_phase(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "", act=send_at("ready", None, signal.SIGINT))
    assert stage.run().status is Status.STOPPED
    file = next((tmp_path / "inductor").rglob("*.so"))
    file.write_bytes(file.read_bytes()[:-10])
    outcome = Stage(tmp_path, "").run()
    assert (outcome.status, outcome.code, outcome.phase_at_end) == (Status.FAILED, 1, "compile")
    assert any("DamagedCache" in line for line in outcome.last_lines)
    assert outcome.restarts == 0


def test_dying_at_once(tmp_path: Path) -> None:
    outcome = Stage(tmp_path, "die-at-once=3").run()
    assert (outcome.status, outcome.code, outcome.restarts) == (Status.FAILED, 3, 0)
    assert "exited with code 3" in outcome.reason


@pytest.mark.parametrize(
    ("phase", "at_end"), [("import", "start"), ("load", "load"), ("compile", "compile"), ("listen", "listen")]
)
def test_dying_in_a_phase_names_the_phase_and_the_cause(tmp_path: Path, phase: str, at_end: str) -> None:
    outcome = Stage(tmp_path, f"die-in={phase}").run()
    assert (outcome.status, outcome.code, outcome.phase_at_end) == (Status.FAILED, 1, at_end)
    assert outcome.error_lines[-1] == f"RuntimeError: stand-in was told to die in {phase}"
    assert outcome.last_lines[-1] == outcome.error_lines[-1]


def test_killed_for_memory_is_told_from_other_ends(tmp_path: Path) -> None:
    outcome = Stage(tmp_path, "oom").run()
    assert (outcome.status, outcome.signal, outcome.killed_from_outside) == (Status.FAILED, 9, True)
    assert outcome.phase_at_end == "load"


@pytest.mark.parametrize("phase", ["import", "load", "compile", "listen"])
def test_hanging_in_a_phase_ends_by_the_limit(tmp_path: Path, phase: str) -> None:
    policy = Policy(ready_timeout_s=0.8, probe_every_s=0.1, stop_int_s=2)
    outcome = Stage(tmp_path, f"hang={phase}", policy).run()
    assert outcome.status is Status.FAILED
    assert "not ready after 0.8 s" in outcome.reason
    assert outcome.phase_at_end == ("start" if phase == "import" else phase)
    assert not outcome.killed_from_outside


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("phase", ["import", "load", "compile", "listen", "ready"])
def test_asked_to_stop_in_any_phase_it_stops_at_once(tmp_path: Path, phase: str, number: int) -> None:
    begun: list[float] = []
    kind, name = {"import": ("started", None), "ready": ("ready", None)}.get(phase, ("phase", phase))
    send = send_at(kind, name, number)

    def act(event: ServerEvent) -> None:
        if event.kind == "stopping":
            begun.append(time.monotonic())
        send(event)

    outcome = Stage(tmp_path, "" if phase == "ready" else f"hang={phase}", act=act).run()
    assert time.monotonic() - begun[0] < PROMPT_S
    assert (outcome.status, outcome.stopped_by) == (Status.STOPPED, number)
    assert outcome.signal in (None, signal.SIGINT)


def test_ignoring_signals_ends_by_kill(tmp_path: Path) -> None:
    policy = Policy(probe_every_s=0.05, stop_int_s=0.2, stop_term_s=0.2)
    stage = Stage(tmp_path, "ignore-signals", policy, send_at("ready", None, signal.SIGTERM))
    outcome = stage.run()
    assert (outcome.status, outcome.signal) == (Status.STOPPED, signal.SIGKILL)
    assert not outcome.killed_from_outside
    assert [e.text for e in stage.events if "still alive" in e.text] == [
        "the server is still alive: SIGTERM",
        "the server is still alive: SIGKILL",
    ]


def test_asking_twice_kills(tmp_path: Path) -> None:
    policy = Policy(probe_every_s=0.05, again_after_s=0.05)
    sent = 0

    def act(event: ServerEvent) -> None:
        nonlocal sent
        if event.kind == ("ready", "tick", None)[sent]:
            sent += 1
            os.kill(os.getpid(), signal.SIGINT)

    begun = time.monotonic()
    outcome = Stage(tmp_path, "ignore-signals", policy, act).run()
    assert time.monotonic() - begun < policy.stop_int_s
    assert (outcome.status, outcome.signal) == (Status.STOPPED, signal.SIGKILL)


def test_a_crash_after_ready_is_answered_by_a_restart(tmp_path: Path) -> None:
    ready = 0

    def act(event: ServerEvent) -> None:
        nonlocal ready
        ready += event.kind == "ready"
        if ready == 2 and event.kind == "ready":
            os.kill(os.getpid(), signal.SIGTERM)

    stage = Stage(tmp_path, f"die-after-ready=0.3,only-first={tmp_path / 'once'}", act=act)
    outcome = stage.run()
    assert (outcome.status, outcome.restarts, ready) == (Status.STOPPED, 1, 2)
    assert "restarting" in stage.kinds()


@pytest.mark.parametrize("way", ["die-after-ready=0.3", "exit-after-ready=0.3"])
def test_crashing_again_and_again_has_an_end(tmp_path: Path, way: str) -> None:
    policy = Policy(probe_every_s=0.05, backoff_first_s=0.05, restarts_max=1)
    stage = Stage(tmp_path, way, policy)
    outcome = stage.run()
    assert (outcome.status, outcome.restarts) == (Status.FAILED, 1)
    assert "limit" in outcome.reason
    assert stage.kinds().count("ready") == 2


def test_a_server_that_hangs_after_ready_is_restarted(tmp_path: Path) -> None:
    ready = 0

    def act(event: ServerEvent) -> None:
        nonlocal ready
        ready += event.kind == "ready"
        if ready == 2 and event.kind == "ready":
            os.kill(os.getpid(), signal.SIGINT)

    stage = Stage(tmp_path, f"hang-after-ready=0.1,only-first={tmp_path / 'once'}", act=act)
    assert stage.run().status is Status.STOPPED
    assert stage.kinds().count("unhealthy") == POLICY.health_failures - 1
    assert any("hangs" in event.text for event in stage.events)


def test_health_alone_is_not_ready(tmp_path: Path) -> None:
    outcome = Stage(tmp_path, "completions=500", Policy(ready_timeout_s=1, probe_every_s=0.05)).run()
    assert outcome.status is Status.FAILED
    assert outcome.ready_after_s is None
    assert "status 500" in outcome.reason


@pytest.mark.parametrize("kind", ["wrong", "empty", "repeat"])
def test_a_wrong_answer_fails_the_start_at_once(tmp_path: Path, kind: str) -> None:
    begun = time.monotonic()
    outcome = Stage(tmp_path, f"answer={kind}").run()
    assert time.monotonic() - begun < POLICY.ready_timeout_s / 2
    assert outcome.status is Status.FAILED
    assert "answers wrongly" in outcome.reason


def test_a_request_that_is_never_answered_does_not_delay_a_stop(tmp_path: Path) -> None:
    seen = 0

    def act(event: ServerEvent) -> None:
        nonlocal seen
        seen += event.kind == "tick" and event.phase == "listen"
        if seen == 1:
            seen += 1
            os.kill(os.getpid(), signal.SIGINT)

    begun = time.monotonic()
    outcome = Stage(tmp_path, "completions=hang", act=act).run()
    assert time.monotonic() - begun < 10
    assert (outcome.status, outcome.stopped_by) == (Status.STOPPED, signal.SIGINT)


def test_grandchildren_that_ignore_signals_go_with_the_server(tmp_path: Path) -> None:
    outcome = Stage(tmp_path, "grandchildren", act=send_at("ready", None, signal.SIGINT)).run()
    log = (tmp_path / "server.log").read_text()
    pids = [int(line.split()[-2]) for line in log.splitlines() if "grandchild" in line]
    assert len(pids) == 2
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert outcome.status is Status.STOPPED


@pytest.mark.parametrize("flood", ["flood=20", "flood-junk=20"])
def test_a_flood_hides_no_phase_and_delays_no_stop(tmp_path: Path, flood: str) -> None:
    asked: list[float] = []

    def act(event: ServerEvent) -> None:
        if event.kind == "ready":
            asked.append(time.monotonic())
            os.kill(os.getpid(), signal.SIGINT)

    outcome = Stage(tmp_path, flood, act=act).run()
    assert time.monotonic() - asked[0] < PROMPT_S + POLICY.stop_int_s
    assert outcome.status is Status.STOPPED
    if flood.startswith("flood="):
        assert list(outcome.phases_s) == ["start", "load", "compile", "listen"]


def test_an_error_of_the_work_stops_the_server_and_is_raised(tmp_path: Path) -> None:
    def work() -> None:
        raise LookupError("no such prompt")

    with pytest.raises(LookupError, match="no such prompt"):
        supervise(Stage(tmp_path, "").spec(), Host(), policy=POLICY, when_ready=work)


def test_a_server_that_dies_during_the_work_is_the_story(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "die-after-ready=0.3")

    def work() -> None:
        while stage.ask():
            pass

    outcome = supervise(stage.spec(), Host(), policy=POLICY, when_ready=work)
    assert (outcome.status, outcome.code, outcome.restarts) == (Status.FAILED, 1, 0)


def test_an_error_of_the_teller_leaves_nothing_behind(tmp_path: Path) -> None:
    def act(event: ServerEvent) -> None:
        if event.kind == "ready":
            raise BrokenPipeError("the terminal is gone")

    with pytest.raises(BrokenPipeError):
        Stage(tmp_path, "grandchildren", act=act).run()


def test_an_ignored_signal_stays_ignored(tmp_path: Path) -> None:
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        stage = Stage(tmp_path, "", act=send_at("ready", None, signal.SIGHUP, signal.SIGTERM))
        assert stage.run().stopped_by == signal.SIGTERM
    finally:
        signal.signal(signal.SIGHUP, former)


def test_a_serving_python_that_is_not_there_is_said(tmp_path: Path) -> None:
    launch = Launch(("/no/such/python",), {}, tmp_path, tmp_path / "log")
    with pytest.raises(StackUnfit, match="/no/such/python"):
        supervise(ServerSpec(launch, lambda: ProbeAnswer(True)), Host())


def test_a_log_that_cannot_be_written_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "server.log").symlink_to("/dev/full")
    stage = Stage(tmp_path, "", act=send_at("ready", None, signal.SIGINT))
    assert stage.run().ready_after_s is not None
    assert stage.kinds().count("log-problem") == 1
