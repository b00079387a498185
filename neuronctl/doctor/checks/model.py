"""Check of the profile's model: is it on this machine, or may it be fetched."""

from __future__ import annotations

from neuronctl.doctor.check import CannotTell, NotHere, Seen, Trouble, check
from neuronctl.doctor.facts import Facts
from neuronctl.doctor.wanted import find_wanted
from neuronctl.errors import Exit, NeuronctlError, Place
from neuronctl.model.hub_place import FLAG, offline_by, online_again

MISSING = Trouble(
    "model.not-here",
    "error",
    "The profile names something of the hub that is not here, and a variable or the profile forbids "
    "to fetch it: no server starts.",
    "huggingface_hub 0.36.2 and 2.4.0 (HF_HUB_OFFLINE); neuronctl/model/hub_model.py",
)


@check(
    "model",
    "Whether the profile's model is on this machine",
    finds=(MISSING,),
    exit_code=Exit.MODEL_NOT_RESOLVED,
    needs_profile=True,
)
def model(facts: Facts) -> Seen:
    """The model, the draft and the adapters of the profile: are they here, or may they be fetched.

    Looked at are names in the hub's cache, and nobody is asked. What is not here is fetched by the first
    compile or serve, unless HF_HUB_OFFLINE is set, or `model.download` is `never`. With `--offline` it is not
    known whether it can be had.
    """
    if facts.request is None:
        raise NotHere("no profile is named")
    try:
        wanted, shape = find_wanted(facts), facts.profile()
    except NeuronctlError:
        raise CannotTell("the profile cannot be read", told_by="profile") from None
    if not wanted or shape is None:
        raise NotHere("the profile's model does not come from the hub")
    missing = [one for one in wanted if not one.here]
    data: dict[str, object] = {"missing": [one.repo_id for one in missing]}
    if not missing:
        return Seen(f"{', '.join(one.repo_id for one in wanted)}: here", data=data)
    here_not = f"{', '.join(one.repo_id for one in missing)} {'is' if len(missing) == 1 else 'are'} not here"
    elsewhere = "or download it elsewhere and copy the hub's cache here"
    place = Place(key=missing[0].key)
    if shape.shape.model.download == "never" and missing[0].key == "model.id":
        finding = MISSING(
            f"{missing[0].repo_id} is not whole here, and model.download: never forbids to fetch it",
            fix=f"neuronctl models download {missing[0].repo_id}, {elsewhere}",
            place=place,
        )
        return Seen(here_not, (finding,), data=data)
    variable = offline_by(facts.host)
    if variable == FLAG:
        raise CannotTell(f"{here_not}, and {FLAG} forbids to ask whether it can be had")
    if variable is not None:
        finding = MISSING(
            f"{here_not}, and {variable} forbids to fetch it",
            fix=f"{online_again(variable)}, {elsewhere}",
            place=place,
        )
        return Seen(here_not, (finding,), data=data)
    return Seen(f"{here_not}, and will be downloaded", data=data)


CHECKS = (model,)
