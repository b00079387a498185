"""Rules about the hub that a model comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from neuronctl.model.known import known_model
from neuronctl.rules.rule import Remark, rule
from neuronctl.rules.situation import Situation

if TYPE_CHECKING:
    from neuronctl.model.companions import Companion
    from neuronctl.model.model import Model


@rule(
    "model.gated",
    "warning",
    "sdk:vllm-neuron/docs/getting-started/setup-guide.md:36-37; gh:vllm-project/vllm#11189",
    covers=("gated-model",),
)
def gated(situation: Situation) -> Remark | None:
    """The hub lets a model of this kind go to those only who accepted its licence and say who they are.

    Whether this user is logged in is not looked up; a token in HF_TOKEN is seen. Containers need it too.
    """
    model = situation.model
    if model.here or model.source != "hub" or situation.machine.assumed:
        return None
    if any(situation.environment.get(name) for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")):
        return None
    known = known_model(model.id, model.commit)
    # "conflict" is what the record says where its sources differ.
    if known is None or known.gated in (None, False, "conflict"):
        return None
    return Remark(
        f"{model.id} is gated, its weights are not here, and HF_TOKEN is not set: unless you are logged in, "
        "the download is refused",
        fix=f"accept the licence at https://huggingface.co/{model.id}; then type hf auth login, or set "
        "HF_TOKEN",
        key="model.id",
    )


@rule("model.branch-moved", "warning", "neuronctl's own memory of the hub (model/hub_memory.py)")
def branch_moved(situation: Situation) -> list[Remark]:
    """The branch or tag of a model, draft or adapter is another commit than when it was used or looked up.

    The one from before is used as long as its files are here, so nothing changes unasked; else the one whose
    files are here is. A model is pinned with `model.revision`; `neuronctl models download` takes the news.
    """
    model = situation.model
    news = "neuronctl models download {} takes what the hub has now"
    pin = "set model.revision to the one that is meant (neuronctl profiles show --pin prints it so); "
    key = "model.revision" if model.revision else "model.id"
    branch = f"{model.revision or 'main'} of {model.id}"
    told = [(_moved(branch, model.commit, model), pin + news.format(model.id), key)]
    for one in situation.companions:
        told.append((_moved(f"main of {one.said}", one.identity, one), news.format(one.said), one.key))
    return [Remark(message, fix, key) for message, fix, key in told if message is not None]


def _moved(branch: str, commit: str | None, what: Model | Companion) -> str | None:
    if what.moved:
        return f"{branch} was {commit}, which is used, and is {what.moved} in the hub's cache"
    if what.replaces:
        return f"{branch} was {what.replaces}, which is not whole here, so {commit} is used"
    return None


@rule("model.companion-folder", "warning", "neuronctl: compile and serve refuse it (model/companions.py)")
def companion_folder(situation: Situation) -> list[Remark]:
    """The folder of a draft or an adapter is not there.

    A plan can be made without it; `compile` and `serve` end then.
    """
    return [
        Remark(
            f"there is no folder {one.said}", f"give {one.key} a folder that is there, or a hub id", one.key
        )
        for one in situation.companions
        if one.path is None and _is_path(one.said)
    ]


@rule("model.companion-not-here", "info", "neuronctl downloads them (model/companions.py)")
def companion_not_here(situation: Situation) -> list[Remark]:
    """A draft or an adapter is not in the hub's cache yet: `compile` and `serve` fetch it before they start.

    Whether the hub has it is seen then. On Neuron the commit that it is becomes part of the artifact's key.
    """
    return [
        Remark(
            f"{one.said} is not in the hub's cache on this machine: compile and serve fetch it first",
            f"neuronctl models download {one.said}",
            one.key,
        )
        for one in situation.companions
        if one.path is None and not _is_path(one.said)
    ]


def _is_path(said: str) -> bool:
    return said.startswith(("/", "./", "../", "~"))


@rule("model.not-remembered", "warning", "neuronctl's own memory of the hub (model/hub_memory.py)")
def not_remembered(situation: Situation) -> Remark | None:
    """What the hub told of the model cannot be kept in `NEURONCTL_HOME`, so that it is asked again each time.

    A branch may then be another commit the next time.
    """
    model = situation.model
    if model.unremembered is None:
        return None
    return Remark(
        f"what the hub says of {model.id} cannot be kept for the next time ({model.unremembered})",
        fix="set NEURONCTL_HOME to a folder that this user can write",
    )


@rule(
    "model.tied-embeddings",
    "info",
    "sdk:libraries/nxd-inference/developer_guides/vllm-user-guide-v1.rst:608",
    backends=("nxdi",),
)
def tied_embeddings(situation: Situation) -> Remark | None:
    """Input and output embeddings are one tensor: the plugin is given a local folder, never the hub id.

    With the hub id of such a model NxD Inference up to 0.6 ends with "Cannot copy out of meta tensor; no
    data!" when it shards the weights at load.
    """
    model = situation.model
    if model.source != "hub" or not model.is_tied:
        return None
    return Remark(
        f"{model.id} has tied embeddings, with which a hub id can fail (Cannot copy out of meta tensor): "
        f"it is {'' if model.here else 'downloaded to and '}served from the folder {model.path}",
    )


@rule(
    "model.output-embedding",
    "warning",
    "transformers 4.57.6, modeling_utils.py (tie_weights: only where tie_word_embeddings is true)",
)
def output_embedding(situation: Situation) -> Remark | None:
    """config.json says that the embeddings are two tensors, and the weights hold one of them only.

    Then the output embedding is not loaded: the load fails, or the answers are noise.
    """
    model = situation.model
    stored = model.checkpoint.stores_output if model.checkpoint is not None else None
    if model.facts.is_tied is not False or stored is not False:
        return None
    return Remark(
        f"config.json of {model.id} does not say tie_word_embeddings: true, and its weights hold no "
        "output embedding (lm_head.weight)",
        fix='add "tie_word_embeddings": true to config.json of a local copy, if the model is so; else take '
        "the whole checkpoint",
        key="model.id",
    )


@rule(
    "model.remote-code",
    "error",
    "transformers 4.57.6, dynamic_module_utils.py (resolve_trust_remote_code); vLLM, "
    "transformers_utils/config.py (_CONFIG_REGISTRY)",
    forcible=True,
)
def remote_code(situation: Situation) -> Remark | None:
    """The model's own Python files are needed to load it, and the profile does not allow to run them.

    Needed they are where config.json names them (auto_map) and neither transformers nor vLLM in the serving
    Python has the model type, by the names of their files.
    """
    model = situation.model
    if model.remote_code is None or situation.engine.get("trust_remote_code"):
        return None
    return Remark(
        f"{model.id} needs its own code ({model.remote_code}): the installed transformers and vLLM have no "
        f"model type {model.facts.model_type}",
        fix="read that code, then set model.trust_remote_code: true and pin model.revision",
        key="model.trust_remote_code",
    )


@rule("model.no-chat-template", "info", "vLLM, entrypoints/chat_utils.py (resolve_hf_chat_template)")
def no_chat_template(situation: Situation) -> Remark | None:
    """The tokenizer has no chat template, so that requests for chat completions are refused.

    A base model has none; /v1/completions works with it.
    """
    model = situation.model
    if model.has_chat_template is not False or situation.engine.get("chat_template"):
        return None
    return Remark(
        f"{model.id} has no chat template: /v1/chat/completions will answer with an error",
        fix="use /v1/completions, or name a template: engine.chat_template",
        key="model.id",
    )


RULES = (
    gated,
    branch_moved,
    companion_folder,
    companion_not_here,
    not_remembered,
    tied_embeddings,
    output_embedding,
    remote_code,
    no_chat_template,
)
