"""Profiles for Neuron on the command line, on a machine without a device and without a network.

`--target` and `--stack` say what is meant; a profile that cannot work there is refused by plan, compile and
serve with the rule's id and what to type, before anything is downloaded.
"""

from __future__ import annotations

import pytest

from tests.process.terminal import PROJECT, Terminal

# What is wrong: the profile, the instance type, the SDK, the rule, and words of its message and its fix.
BAD = {
    "more cores than there are": (
        "extends: llama-3.1-8b\nengine: {tensor_parallel_size: 32}",
        ("inf2.48xlarge", "sdk-2.28"),
        ("machine.too-many-cores", "has 24", "tensor_parallel_size to 2, 4 or 8"),
    ),
    "heads that TP does not divide": (
        "extends: qwen2.5-7b\nengine: {tensor_parallel_size: 8}",
        ("inf2.48xlarge", "sdk-2.28"),
        ("nxdi.heads-padded", "12% of the attention work is padding", "2 or 4"),
    ),
    "Pixtral with a batch of 8": (
        "extends: pixtral-12b\nengine: {max_num_seqs: 8}",
        ("inf2.48xlarge", "sdk-2.28"),
        ("model.pixtral-limits", "8 sequences", "max_num_seqs to 4"),
    ),
    "Pixtral with 16384 tokens": (
        "extends: pixtral-12b\nengine: {max_model_len: 16384}",
        ("trn2.48xlarge", "sdk-2.28"),
        ("model.pixtral-limits", "16384 tokens", "max_model_len to 10240"),
    ),
    "prefix caching with a batch of 1": (
        "extends: llama-3.1-8b-prefix-caching\nengine: {max_num_seqs: 1}",
        ("trn2.48xlarge", "sdk-2.26"),
        ("nxdi.prefix-caching-batch-1", "wrong answers", "max_num_seqs: 2"),
    ),
    "vLLM's own quantisation": (
        "extends: llama-3.1-8b\nengine: {quantization: neuron_quant}",
        ("inf2.48xlarge", "sdk-2.28"),
        ("neuron.quantization-neuron-quant", "neuron_quant must not be set", "features.quantization.weights"),
    ),
    "a misspelt key": (
        "extends: llama-3.1-8b\nneuron: {sequence_paralel_enabled: true}",
        ("inf2.48xlarge", "sdk-2.28"),
        ("nxdi.unknown-key", "0.1.0 and later", "sequence_parallel_enabled"),
    ),
    "a misspelt key further in": (
        "extends: llama-3.1-8b\nneuron: {on_device_sampling_config: {dynamic: true, globel_topk: 64}}",
        ("inf2.48xlarge", "sdk-2.28"),
        ("nxdi.unknown-key", "OnDeviceSamplingConfig", "global_topk"),
    ),
    "blocks without their twin": (
        "extends: llama-3.1-8b-prefix-caching\nneuron: {pa_num_blocks: 64}",
        ("trn2.48xlarge", "sdk-2.28"),
        ("nxdi.pa-blocks-mismatch", "num_gpu_blocks_override", "remove pa_num_blocks"),
    ),
    "a model that is too large": (
        "extends: llama-3.3-70b\nengine: {tensor_parallel_size: 2}",
        ("inf2.xlarge", "sdk-2.28"),
        ("estimate.core", "16.0 GiB", "trn1.32xlarge"),
    ),
    "longer than the model's context": (
        "extends: tinyllama-tp2\nengine: {max_model_len: 4096}",
        ("inf2.xlarge", "sdk-2.28"),
        ("model.context-exceeded", "2048 positions", "max_model_len to 2048"),
    ),
    "LNC 2 on Trainium1": (
        "extends: llama-3.1-8b\nneuron: {logical_nc_config: 2}",
        ("trn1.32xlarge", "sdk-2.28"),
        ("machine.lnc-unsupported", "LNC 1 only", "set it to 1"),
    ),
    "chunked prefill with the custom scheduler": (
        'extends: llama-3.1-8b-chunked-prefill\nenv: {DISABLE_NEURON_CUSTOM_SCHEDULER: "0"}',
        ("trn2.48xlarge", "sdk-2.28"),
        ("nxdi.chunked-prefill", "scheduler", 'DISABLE_NEURON_CUSTOM_SCHEDULER: "1"'),
    ),
    "LoRA on plugin 0.2.0": (
        "extends: llama-3.1-8b-lora",
        ("trn2.48xlarge", "sdk-2.26"),
        ("nxdi.lora-0-2-0", "not yet supported", "0.3.0 or later (SDK 2.27.1)"),
    ),
    "keys of the native plugin on NxD Inference": (
        "extends: qwen3-8b\nneuron: {num_seqs_buckets: [1, 8]}",
        ("trn2.48xlarge", "sdk-2.28"),
        ("neuron.other-generation", "num_seqs_buckets", "token_generation_batches"),
    ),
    "keys of NxD Inference on the native plugin": (
        "extends: qwen3-8b\nneuron: {context_encoding_buckets: [512, 8192]}",
        ("trn2.48xlarge", "sdk-2.32"),
        ("neuron.other-generation", "context_encoding_buckets", "num_batched_tokens_buckets"),
    ),
}

ON_THE_WRONG_STACK = {
    "nxdi": ("sdk-2.32", "has vLLM for native", "sdk-2.31"),
    "native": ("sdk-2.28", "has vLLM for nxdi", "backend: nxdi"),
}


def write(terminal: Terminal, text: str) -> None:
    (terminal.cwd / "bad.yaml").write_text(text + "\n", encoding="utf-8")


def nothing_was_fetched(terminal: Terminal) -> bool:
    return not list(terminal.home.rglob("*")) and not (terminal.store_home / "models").exists()


@pytest.mark.parametrize(("text", "where", "said"), BAD.values(), ids=BAD)
def test_a_profile_that_cannot_work_is_refused_by_each_command(
    terminal: Terminal, text: str, where: tuple[str, str], said: tuple[str, str, str]
) -> None:
    write(terminal, text)
    rule, message, fix = said
    for command in ("plan", "compile", "serve"):
        words = (command, "bad.yaml", "--target", where[0], "--stack", where[1])
        answer = terminal.run(*words, "--json").expect(1).envelope
        (finding,) = [one for one in answer["findings"] if one["id"] == rule]
        assert finding["severity"] == "error"
        assert message in finding["message"]
        assert fix in finding["fix"]
        assert finding["source"]
    told = terminal.run("serve", "bad.yaml", "--target", where[0], "--stack", where[1])
    told.expect(1, f"error {rule}: ", "try: ", fix)
    assert nothing_was_fetched(terminal)


@pytest.mark.parametrize("backend", ON_THE_WRONG_STACK)
@pytest.mark.parametrize("command", ["plan", "compile", "serve"])
def test_a_profile_on_a_stack_of_the_other_generation(terminal: Terminal, backend: str, command: str) -> None:
    stack, message, fix = ON_THE_WRONG_STACK[backend]
    write(terminal, f"extends: llama-3.1-8b\nbackend: {backend}")
    said = terminal.run(command, "bad.yaml", "--target", "trn2.48xlarge", "--stack", stack)
    said.expect(31, "error: the profile wants the ", message, fix)
    assert nothing_was_fetched(terminal)


def test_a_plan_for_a_machine_that_is_not_here(terminal: Terminal) -> None:
    words = ("plan", "--profile", "tinyllama-tp2", "--target", "inf2.xlarge", "--stack", "sdk-2.28")
    said = terminal.run(*words).expect(0, "inf2.xlarge (--target): 1 x Inferentia2, 2 logical cores")
    for line in ("Neuron SDK 2.28.0", "--tensor-parallel-size 2", "NEURON_RT_VISIBLE_CORES  0-1", "estimate"):
        assert line in said.out
    data = terminal.run(*words, "--json").expect(0).envelope["data"]
    assert data["neuron"]["predicted"]["neuron_config"]["tp_degree"] == 2
    assert data["neuron"]["estimate"]["core"]["parts"][0]["basis"] == "derived"
    assert data["machine"]["assumed"] is True
    assert nothing_was_fetched(terminal)


def test_every_shipped_profile_can_be_planned_by_hand(terminal: Terminal) -> None:
    for path in sorted((PROJECT / "profiles").glob("*.yaml")):
        if path.stem != "smollm2-cpu":
            terminal.run("plan", path.stem, "--target", "trn2.48xlarge", "--stack", "sdk-2.29").expect(0)


@pytest.mark.parametrize("command", ["compile", "serve"])
def test_what_is_only_assumed_is_never_run(terminal: Terminal, command: str) -> None:
    words = (command, "--profile", "tinyllama-tp2", "--target", "inf2.xlarge", "--stack", "sdk-2.28")
    (error,) = terminal.run(*words, "--json").expect(31).envelope["errors"]
    assert error["code"] == "stack.only-assumed"
    assert nothing_was_fetched(terminal)


def test_force_lets_through_what_only_an_estimate_refuses(terminal: Terminal) -> None:
    write(terminal, "extends: llama-3.3-70b\nengine: {tensor_parallel_size: 2}")
    words = ("plan", "bad.yaml", "--target", "inf2.xlarge", "--stack", "sdk-2.28")
    terminal.run(*words).expect(1, "error estimate.core")
    terminal.run(*words, "--force").expect(0, "warning estimate.core")
    write(terminal, "extends: llama-3.1-8b\nengine: {quantization: neuron_quant}")
    words = ("plan", "bad.yaml", "--target", "inf2.48xlarge", "--stack", "sdk-2.28", "--force")
    terminal.run(*words).expect(1, "error neuron.quantization-neuron-quant")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--target", "inf2.xlrage", "--stack", "sdk-2.28"), "did you mean inf2.xlarge?"),
        (("--target", "inf2.xlarge", "--stack", "sdk-9.9"), "no Neuron SDK is known by the name sdk-9.9"),
        (("--target", "inf2.xlarge", "--stack", "sdk-2.24"), "whose support has ended"),
        (("--stack", "sdk-2.28", "--python", "python3"), "--stack and --python"),
    ],
)
def test_a_machine_or_a_stack_that_nobody_knows(
    terminal: Terminal, words: tuple[str, ...], said: str
) -> None:
    terminal.run("plan", "--profile", "tinyllama-tp2", *words).expect(2, said, "try: ")


def test_a_target_is_nothing_for_a_processor(terminal: Terminal) -> None:
    terminal.run("plan", "p.yaml", "--target", "inf2.xlarge").expect(2, "the machine it runs on")


def test_a_neuron_stack_without_a_device(terminal: Terminal) -> None:
    said = terminal.run("plan", "--profile", "tinyllama-tp2", "--stack", "sdk-2.28", "--json").expect(1)
    ids = {one["id"] for one in said.envelope["findings"] if one["severity"] == "error"}
    assert "devices.driver-missing" in ids


def test_a_model_that_is_neither_here_nor_known_is_not_downloaded_for_an_assumed_stack(
    terminal: Terminal,
) -> None:
    write(terminal, "model: {id: somebody/unheard-of}\nbackend: nxdi")
    for command in ("plan", "compile", "serve"):
        said = terminal.run(command, "bad.yaml", "--target", "inf2.xlarge", "--stack", "sdk-2.28")
        said.expect(41, "somebody/unheard-of", "copy the hub's cache here")
