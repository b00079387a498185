"""Which findings follow from others: the cause is told, and what follows is only counted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase

from neuronctl.result import Finding, Severity

_TOO_FEW_CORES = ("machine.too-many-cores", "machine.cores-not-granted", "machine.too-many-replicas")
_NO_DEVICE = (
    "container.no-device",
    "devices.runtime-missing",
    "devices.neuron-ls",
    "devices.collectives-not-installed",
    "devices.collectives-missing",
    *_TOO_FEW_CORES,
)
# Cause → its consequences, as patterns of ids. Where a cause is found, what it brings about is not told.
CONSEQUENCES: Mapping[str, tuple[str, ...]] = {
    "stack.no-python": ("stack.*", "artifact.*"),
    "stack.broken-python": ("stack.*", "artifact.*"),
    # Another Python, or another plugin in it, does not help on that machine.
    "machine.native-unsupported": ("stack.other-generation", "stack.backend-not-supported"),
    "stack.pypi-placeholder": (
        "stack.plugin-missing",
        "stack.missing-module",
        "stack.mixed-sdk",
        "stack.unknown-sdk",
        "stack.no-nxdi",
        "stack.no-vllm",
        "stack.no-plugin",
        "stack.other-generation",
        "stack.nki-version",
        "stack.plugin-requirements",
    ),
    "stack.no-plugin": (
        "stack.no-nxdi",
        "stack.plugin-missing",
        "stack.other-generation",
        "stack.mixed-sdk",
        "stack.unknown-sdk",
    ),
    "stack.installed-twice": ("stack.mixed-sdk",),
    "stack.no-vllm": ("stack.other-generation", "stack.unknown-sdk"),
    "stack.plugin-missing": ("stack.unknown-sdk", "stack.mixed-sdk", "stack.other-generation"),
    "devices.driver-missing": (*_NO_DEVICE, "devices.driver-not-reloaded", "devices.driver-version-hidden"),
    "container.no-device": _NO_DEVICE[1:],
    # The new driver lies on the disk already, and fits.
    "devices.driver-not-reloaded": ("devices.driver-too-old", "devices.kernel-6.18"),
    # One upgrade mends both.
    "devices.driver-too-old": ("devices.neuron-ls", "devices.kernel-6.18"),
    "devices.driver-too-new": ("devices.neuron-ls",),
    # The plan knows that several cores are wanted.
    "devices.collectives-missing": ("devices.collectives-not-installed",),
    "devices.not-listed": _TOO_FEW_CORES,
    "devices.some-missing": (*_TOO_FEW_CORES, "devices.gaps", "devices.not-contiguous"),
    # Where one whose server lives holds a device too, it is not all: see _UNLESS.
    "devices.orphaned-workers": ("devices.cores-in-use", "devices.shared"),
    "devices.no-access": ("devices.neuron-ls",),
    # It names the cores, and those that are free.
    "devices.cores-in-use": ("devices.all-held", "devices.held"),
    "host.few-processes": ("machine.no-threads",),
    "environment.bad-cores": ("usage.bad-cores",),
    "machine.lnc-impossible": ("machine.lnc-places", "machine.lnc-mismatch", "machine.lnc-unsupported"),
    "machine.lnc-places": ("machine.lnc-mismatch",),
    "store.unreadable": ("store.unusable", "artifact.cannot-be-compiled"),
    # The disk itself is told of, and else a quota.
    "disk.full": ("store.full",),
    "store.full": ("artifact.cannot-be-compiled",),
    "store.not-writable": ("artifact.cannot-be-compiled",),
    "store.no-locks": ("artifact.cannot-be-compiled",),
    "hub.unreachable": ("hub.bad-token", "hub.no-access", "model.download-failed"),
    "model.not-here": ("model.not-downloaded", "model.download-forbidden"),
    "hub.model-unreachable": ("hub.unreachable", "hub.no-access", "model.download-failed"),
    "hub.bad-token": ("hub.no-access", "model.bad-token", "model.gated"),
    "hub.no-access": ("model.bad-token", "model.gated", "model.unknown"),
}
# Cause → findings beside which it is not the whole cause, and hides nothing.
_UNLESS: Mapping[str, tuple[str, ...]] = {"devices.orphaned-workers": ("devices.held", "devices.all-held")}
_WORST: Mapping[Severity, int] = {"error": 0, "warning": 1, "info": 2}


def split_consequences(
    findings: Iterable[Finding],
) -> tuple[tuple[Finding, ...], tuple[tuple[Finding, Finding], ...]]:
    """Root causes in their order, and pairs of a hidden finding and the cause that it follows from.

    A cause becomes as severe as the worst of what follows from it: it is all that is told. What follows from
    a consequence follows from the root.
    """
    found = list(findings)
    present = {finding.id: finding for finding in reversed(found)}
    hidden: dict[int, Finding] = {}
    for number, finding in enumerate(found):
        for cause, patterns in CONSEQUENCES.items():
            if cause not in present or cause == finding.id or number in hidden:
                continue
            if not present.keys().isdisjoint(_UNLESS.get(cause, ())):
                continue
            if any(fnmatchcase(finding.id, pattern) for pattern in patterns):
                hidden[number] = present[cause]
    by_id = {found[number].id: direct for number, direct in hidden.items()}
    for number, root in hidden.items():
        passed = {root.id}
        while (further := by_id.get(root.id)) is not None and further.id not in passed:
            root = further
            passed.add(root.id)
        hidden[number] = root
    worst: dict[str, Severity] = {}
    for number, cause_finding in hidden.items():
        severity = found[number].severity
        before = worst.get(cause_finding.id, cause_finding.severity)
        worst[cause_finding.id] = min(severity, before, key=lambda one: _WORST[one])
    roots = tuple(
        replace(finding, severity=worst.get(finding.id, finding.severity))
        for number, finding in enumerate(found)
        if number not in hidden
    )
    return roots, tuple((found[number], cause) for number, cause in hidden.items())
