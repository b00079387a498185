"""Whether the driver on the host, the runtime and the kernel go together."""

from __future__ import annotations

from dataclasses import dataclass

from neuronctl.stack.compat import driver_rows
from neuronctl.stack.version import satisfies


@dataclass(frozen=True)
class Fault:
    """One rule that is broken. `rule` is its id, `issue` the known issue it answers, if it is one."""

    rule: str
    issue: str | None
    message: str
    fix: str
    source: str


def driver_faults(
    driver: str | None, runtime: str | None, kernel: str, family: str | None
) -> tuple[Fault, ...]:
    """The rules between driver, runtime, kernel and instance family that these versions break.

    `driver` is the one loaded on the host, `runtime` the libnrt that the server would load, `kernel` what
    `uname -r` says (empty: unknown), `family` such as `trn2`. What is unknown breaks no rule.
    """
    facts = {"driver": driver, "runtime": runtime, "kernel": kernel or None, "family": family}
    found = []
    for row in driver_rows():
        if not all(_holds(facts[name], bound) for name, bound in row["when"].items()):
            continue
        for name, bound in row["requires"].items():
            has = facts[name]
            if has is None or _holds(has, bound):
                continue
            because = " and ".join(f"{one} {facts[one]}" for one in row["when"])
            message = f"{name} {has} does not go with {because}: it takes {name} {bound}"
            if row["effect"]:
                message += f", else {row['effect']}"
            found.append(Fault(row["id"], row["issue"], message, row["fix"], row["source"]))
    return tuple(found)


def _holds(has: str | None, bound: str) -> bool:
    if has is None:
        return False
    return satisfies(has, bound) if bound[0] in "<>=" else has == bound
