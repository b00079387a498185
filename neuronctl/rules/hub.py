"""Rules about the hub that a model comes from."""

from __future__ import annotations

from neuronctl.model.known import known_model
from neuronctl.rules.rule import Remark, rule
from neuronctl.rules.situation import Situation


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


RULES = (gated,)
