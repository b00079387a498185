"""The data about errors: complete, consistent, and the same facts as the reference."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from neuronctl.explain.compiler_code import compiler_codes
from neuronctl.explain.known_issue import known_issues, source_prefixes
from neuronctl.explain.pattern import patterns
from neuronctl.explain.runtime_status import status_table, statuses
from tests.reference import reference

# Known issues whose symptom, as the reference tells it, is no text or code that a log or an end could show.
SHOWS_NOTHING = {
    "pip-index-replaced",
    "nrtpy-nki-conflict",
    "stale-plugin-source-sdk-2.27",
    "wrong-dlc",
    "generation-mismatch-config",
    "kernel-6.18",
    "lnc-mismatch",
    "unknown-neuron-keys-native",
    "global-topk-spelling",
    "fused-qkv-lost",
    "max-num-batched-tokens-forced",
    "prefix-caching-batch1",
    "quantization-neuron-quant",
    "native-quantized-keys-ignored",
    "fp8-xla-scalar",
    "sampling-params-ignored",
    "speculative-method",
    "eagle-lm-head",
    "eagle3-community-layout",
    "v0-only-features",
    "qwen3-moe-batch",
    "qwen3-moe-235b-slow",
    "qwen-vl-limits",
    "moe-shard-on-hidden-removed",
    "topk-kernel-accuracy",
    "trn1-inf2-nxdi-0.9",
    "llama4-moe-fused",
    "context-too-long",
    "artifacts-native-noop",
    "workdir-collision",
    "workdir-cache-key",
    "env-rename-0.24",
    "nfs-home-cache",
    "mm-language-model-only-nested",
    "dlc-healthcheck-port",
    "lora-path-colon",
    "shard-on-load-perf",
    "monitor-field-rename",
    "ec2-api-memory",
}


def expected() -> dict[str, dict[str, Any]]:
    return {issue["id"]: issue for issue in reference("known_issues")["issues"]}


def test_the_known_issues_are_those_of_the_reference() -> None:
    assert list(known_issues()) == list(expected())
    assert len(known_issues()) == reference("known_issues")["count"] == 117


def test_each_known_issue_keeps_area_and_basis_and_says_everything() -> None:
    for name, issue in known_issues().items():
        assert issue.area == expected()[name]["area"], name
        assert issue.basis == expected()[name]["basis"], name
        assert all((issue.sees, issue.why, issue.affects, issue.fix, issue.source)), name


def test_each_known_issue_keeps_the_numbers_and_names_of_its_fix_and_cause() -> None:
    """Versions, numbers, variables, flags and keys of the reference's cause and fix stand in ours."""
    fact = re.compile(r"\b\d+(?:\.\d+)+\b|\b[A-Z][A-Z0-9]*_[A-Z0-9_]+\b|--[a-z][a-z-]+|\b[a-z]+_[a-z_]+\b")
    missing = []
    for name, issue in known_issues().items():
        said = " ".join((issue.sees, issue.why, issue.affects, issue.fix))
        for key in ("cause", "fix", "affected"):
            words = fact.findall(str(expected()[name][key]))
            missing += [(name, word) for word in words if word not in said]
    assert missing == []


def test_each_source_begins_with_a_prefix_that_is_explained() -> None:
    for issue in known_issues().values():
        for source in issue.source:
            prefix = re.match(r"[a-z0-9-]+", source)
            assert prefix is not None, (issue.id, source)
            assert prefix[0] in source_prefixes(), (issue.id, source)


def test_each_pattern_names_known_issues_and_says_everything() -> None:
    for pattern in patterns():
        for issue in (*([pattern.issue] if pattern.issue else []), *pattern.also):
            assert issue in known_issues(), (pattern.id, issue)
        assert pattern.issue not in pattern.also, pattern.id
        if pattern.issue is None:
            assert pattern.why, pattern.id
            assert pattern.fix, pattern.id
            assert pattern.basis, pattern.id
            assert pattern.source, pattern.id


def test_a_pattern_that_is_called_like_a_known_issue_is_about_it() -> None:
    for pattern in patterns():
        if pattern.id in known_issues():
            assert pattern.issue == pattern.id


def test_pattern_ids_are_unique() -> None:
    ids = [pattern.id for pattern in patterns()]
    assert len(set(ids)) == len(ids)


def test_each_word_in_braces_is_a_group_of_the_regex() -> None:
    for pattern in patterns():
        groups = set(re.compile(pattern.regex).groupindex) if pattern.regex else set()
        for words in (pattern.title, pattern.why or "", pattern.fix or ""):
            named = set(re.findall(r"\{([a-z]+)\}", words))
            assert named <= groups, (pattern.id, named - groups)


def test_each_known_issue_that_shows_something_has_a_pattern() -> None:
    covered = {issue for pattern in patterns() for issue in (pattern.issue, *pattern.also) if issue}
    assert set(known_issues()) - covered == SHOWS_NOTHING


def test_each_compiler_code_of_the_reference_is_recognised() -> None:
    seen = set(re.findall(r"NCC_[A-Z]+\d+", str(reference("known_issues"))))
    assert len(seen) >= 8
    with_pattern = {code for pattern in patterns() for code in pattern.codes}
    assert seen <= with_pattern


def test_documented_compiler_codes() -> None:
    assert len(compiler_codes()) == 61
    for name, code in compiler_codes().items():
        assert re.fullmatch(r"NCC_E[A-Z]{3}\d{3}", name)
        page = name.removeprefix("NCC_") if name != "NCC_EBIR023" else "index"
        assert code.source == f"sdk:compiler/error-codes/{page}.rst"
        assert code.means, name
        assert code.fix, name


def test_runtime_statuses() -> None:
    numbers = {status.name: status.value for status in status_table().statuses}
    assert numbers["NRT_RESOURCE"] == 4
    assert numbers["NRT_LOAD_NOT_ENOUGH_NC"] == 9
    assert numbers["NRT_EXEC_UNIT_UNRECOVERABLE"] == 101
    assert numbers["NRT_EXEC_SW_NQ_OVERFLOW"] == 1204
    assert len(set(numbers.values())) == len(numbers) == 27
    assert statuses()["NRT_OOB"] is statuses()["1006"] is statuses()["NRT_EXEC_OOB"]
    assert all(status.issue is None or status.issue in known_issues() for status in status_table().statuses)


def test_the_page_explains_each_prefix_of_a_source() -> None:
    page = (Path(__file__).parents[3] / "docs" / "explain.md").read_text(encoding="utf-8")
    for prefix, meaning in source_prefixes().items():
        assert f"| `{prefix}:` | {meaning} |" in page
