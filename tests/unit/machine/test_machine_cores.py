"""Core sets: every spelling, what is refused, and shares that never leave what was granted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuronctl.errors import MachineUnfit, Place, UsageError
from neuronctl.machine.cores import CoreSet, granted_cores, parse_cores, partition

SETS = st.sets(st.integers(0, 300), max_size=80).map(lambda ids: CoreSet(tuple(ids)))


def cores(*ids: int) -> CoreSet:
    return CoreSet(ids)


def first(count: int) -> CoreSet:
    return CoreSet(tuple(range(count)))


@pytest.mark.parametrize(
    ("text", "ids", "printed"),
    [
        ("5", (5,), "5"),
        ("0-3", (0, 1, 2, 3), "0-3"),
        ("0-3,8", (0, 1, 2, 3, 8), "0-3,8"),
        ("0,1,2", (0, 1, 2), "0-2"),
        ("8,0-1", (0, 1, 8), "0-1,8"),
        (" 0 - 3 , 8\n", (0, 1, 2, 3, 8), "0-3,8"),
        ("4-4", (4,), "4"),
        ("007", (7,), "7"),
        ("65535", (65535,), "65535"),
    ],
)
def test_spellings(text: str, ids: tuple[int, ...], printed: str) -> None:
    parsed = parse_cores(text)
    assert parsed.ids == ids
    assert str(parsed) == printed


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("3-1", "'3-1' at character 1 of '3-1' runs backwards"),
        ("0, 3-1", "'3-1' at character 4 of '0, 3-1' runs backwards"),
        ("-1", "'-1' at character 1 of '-1' is neither a core nor a range"),
        ("0--3", "neither"),
        ("0-", "neither"),
        ("0-3-5", "neither"),
        ("0:3", "neither"),
        ("a", "neither"),
        ("1 2", "neither"),
        ("1.5", "neither"),
        ("٣", "neither"),
        ("all", "neither"),
        ("0,,1", "a core is missing at character 3 of '0,,1'"),
        ("0,", "a core is missing at character 3"),
        ("", "a core is missing at character 1"),
        ("1,1", "'1' at character 3 of '1,1' names core 1 a second time"),
        ("0-3,2-5", "'2-5' at character 5 of '0-3,2-5' names core 2 a second time"),
        ("0-65536", "no machine has that many cores"),
        ("0-99999999999999999999", "no machine has that many cores"),
        ("9" * 100_000, "no machine has that many cores"),
    ],
)
def test_what_is_refused_says_what_and_where(text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_cores(text, place=Place(key="SOME_VARIABLE"))
    assert said in caught.value.what
    assert caught.value.error_code == "usage.bad-cores"
    assert str(caught.value).startswith("SOME_VARIABLE: ")
    assert len(caught.value.what) < 300


@given(SETS.filter(bool))
def test_what_is_printed_reads_back_the_same(some: CoreSet) -> None:
    assert parse_cores(str(some)) == some


@given(st.text(alphabet="0123456789-, x", max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parsed = parse_cores(text)
    except UsageError:
        return
    assert parse_cores(str(parsed)) == parsed


@given(SETS, SETS)
def test_sets_behave_as_sets(one: CoreSet, other: CoreSet) -> None:
    assert set(one.intersection(other)) == set(one) & set(other)
    assert set(one.difference(other)) == set(one) - set(other)
    assert len(one) == len(set(one))
    assert list(one) == sorted(one)
    assert all(core in one for core in one.ids)
    assert (one == other) == (set(one) == set(other))
    assert one != other or hash(one) == hash(other)


@given(SETS)
def test_runs_are_the_set_cut_at_its_gaps(some: CoreSet) -> None:
    assert [core for run in some.runs for core in run] == list(some)
    assert all(run.is_contiguous for run in some.runs)
    assert some.is_contiguous == (len(some.runs) == 1)


def test_a_negative_core_does_not_exist() -> None:
    with pytest.raises(ValueError, match="-1"):
        cores(2, -1)


def test_one_core_or_one_range_has_no_gap() -> None:
    assert parse_cores("4").is_contiguous
    assert parse_cores("0,1,2").is_contiguous  # printed as 0-2
    assert not parse_cores("0-3,8").is_contiguous
    assert not cores().is_contiguous


@pytest.mark.parametrize(
    ("environ", "granted"),
    [
        ({}, "0-31"),
        ({"NEURON_RT_VISIBLE_CORES": ""}, "0-31"),
        ({"NEURON_RT_VISIBLE_CORES": "8-15"}, "8-15"),
        ({"NEURON_RT_NUM_CORES": "8"}, "0-7"),
        ({"NEURON_RT_NUM_CORES": "0"}, "0-31"),
        ({"NEURON_RT_NUM_CORES": " 032 "}, "0-31"),
        ({"NEURON_RT_VISIBLE_CORES": "8-15", "NEURON_RT_NUM_CORES": "2"}, "8-15"),
    ],
)
def test_the_environment_grants(environ: dict[str, str], granted: str) -> None:
    assert str(granted_cores(environ, first(32))) == granted


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"NEURON_RT_VISIBLE_CORES": "30-33"}, "names the cores 32-33, and this machine has the cores 0-31"),
        ({"NEURON_RT_VISIBLE_CORES": "x"}, "neither a core nor a range"),
        ({"NEURON_RT_NUM_CORES": "33"}, "asks for '33' cores, and this machine has the cores 0-31"),
        ({"NEURON_RT_NUM_CORES": "9" * 10_000}, "cores, and this machine has the cores 0-31"),
        ({"NEURON_RT_NUM_CORES": "-1"}, "'-1' is not a number of cores"),
        ({"NEURON_RT_NUM_CORES": "all"}, "'all' is not a number of cores"),
    ],
)
def test_what_the_machine_does_not_have_is_refused(environ: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        granted_cores(environ, first(32))
    assert said in caught.value.what
    assert caught.value.error_code == "usage.bad-cores"
    assert caught.value.place == Place(key=next(iter(environ)))


@pytest.mark.parametrize("name", ["NEURON_RT_VISIBLE_CORES", "NEURON_RT_NUM_CORES"])
@pytest.mark.parametrize(
    ("place", "fix"),
    [
        (None, "unset {name}, or "),
        (Place("p.yaml", 4, "env.{name}"), "remove env.{name} from p.yaml:4, or "),
        (Place(key="env.{name}"), "remove env.{name}, or "),
    ],
)
def test_who_said_the_cores_is_told_where(name: str, place: Place | None, fix: str) -> None:
    said = None if place is None else Place(place.file, place.line, f"env.{name}")
    with pytest.raises(UsageError) as caught:
        granted_cores({name: "70"}, first(32), places={name: said})
    assert str(caught.value.fix).startswith(fix.format(name=name))
    assert caught.value.place == (said or Place(key=name))


def test_a_machine_without_cores_grants_none() -> None:
    assert granted_cores({}, cores()) == cores()
    with pytest.raises(UsageError, match="has no Neuron cores"):
        granted_cores({"NEURON_RT_VISIBLE_CORES": "0"}, cores())


@given(SETS, st.data())
def test_a_grant_is_never_wider_than_asked_or_had(machine: CoreSet, data: st.DataObject) -> None:
    if not machine:
        return
    asked = CoreSet(tuple(data.draw(st.sets(st.sampled_from(machine.ids), min_size=1))))
    assert granted_cores({"NEURON_RT_VISIBLE_CORES": str(asked)}, machine) == asked
    number = data.draw(st.integers(1, len(machine)))
    some = granted_cores({"NEURON_RT_NUM_CORES": str(number)}, machine)
    assert len(some) == number
    assert not some.difference(machine)


@pytest.mark.parametrize(
    ("granted", "size", "count", "groups"),
    [
        ("0-31", 8, None, ["0-7", "8-15", "16-23", "24-31"]),
        ("0-31", 8, 2, ["0-7", "8-15"]),
        ("0-23", 16, None, ["0-15"]),
        ("8-15", 4, None, ["8-11", "12-15"]),
        ("2-11", 4, None, ["4-7", "8-11"]),  # as many from a multiple of 4
        ("1-8", 4, None, ["1-4", "5-8"]),  # two only if they begin at 1
        ("1-8", 4, 1, ["4-7"]),
        ("0-2,4-6", 2, None, ["0-1", "4-5"]),
        ("0,2,4", 2, None, []),
        ("0,2,4", 1, 2, ["0", "2"]),
    ],
)
def test_groups(granted: str, size: int, count: int | None, groups: list[str]) -> None:
    assert [str(group) for group in partition(parse_cores(granted), size, count)] == groups


@given(SETS, st.integers(1, 20))
def test_groups_are_disjoint_without_gaps_and_inside(granted: CoreSet, size: int) -> None:
    groups = partition(granted, size)
    assert all(len(group) == size and group.is_contiguous for group in groups)
    together = [core for group in groups for core in group]
    assert len(together) == len(set(together))
    assert not CoreSet(tuple(together)).difference(granted)
    assert len(groups) == sum(len(run) // size for run in granted.runs)
    for count in range(1, len(groups) + 1):
        fewer = partition(granted, size, count)
        assert len(fewer) == len({core for group in fewer for core in group}) // size == count
        assert not CoreSet(tuple(core for group in fewer for core in group)).difference(granted)


@pytest.mark.parametrize(("granted", "size", "count"), [("0-31", 8, 5), ("0-2,4-6", 4, 1)])
def test_more_groups_than_fit_are_refused(granted: str, size: int, count: int) -> None:
    with pytest.raises(MachineUnfit) as caught:
        partition(parse_cores(granted), size, count)
    assert caught.value.error_code == "machine.too-few-cores"
    assert f"{count} × {size} cores" in caught.value.what
    assert granted in caught.value.what


@pytest.mark.parametrize(("size", "count"), [(0, None), (-1, 1), (1, 0)])
def test_a_group_has_cores(size: int, count: int | None) -> None:
    with pytest.raises(ValueError, match="a group of"):
        partition(first(4), size, count)
