"""`neuronctl profiles`."""

from __future__ import annotations

from neuronctl.cli.invocation import Invocation
from neuronctl.cli.table import columns
from neuronctl.errors import ProfileError, ProfileErrors, UsageError
from neuronctl.result import Result


def list_named(call: Invocation) -> Result:
    """The profiles that have names, in the order in which they are found."""
    from neuronctl.profile.listing import list_profiles

    entries = list_profiles(call.host)
    rows = []
    for entry in entries:
        note = entry.error or entry.description or ""
        if entry.shadowed_by:
            note = f"(hidden by {entry.shadowed_by}) {note}"
        rows.append((entry.name, entry.source, note))
    data = [
        {
            "name": entry.name,
            "path": str(entry.path),
            "source": entry.source,
            "description": entry.description,
            "shadowed_by": str(entry.shadowed_by) if entry.shadowed_by else None,
            "error": entry.error,
        }
        for entry in entries
    ]
    text = columns(rows) if rows else "no profiles"
    return Result("profiles list", {"profiles": data}, text=text)


def show(
    call: Invocation, reference: str, sets: tuple[str, ...], *, origins: bool, pin: bool = False
) -> Result:
    """A profile with all that it inherits, as YAML; in JSON with the origin of each value.

    `pin`: with the commit that its model is, by what is here or else by the hub. Raises ModelNotResolved.
    """
    from neuronctl.profile.resolve import load_profile
    from neuronctl.profile.show import profile_as_yaml, values_of

    profile = load_profile(reference, call.host, sets=sets)
    if pin:
        from neuronctl.model.resolve import is_hub_id, resolve_model

        section = profile.shape.model
        if not is_hub_id(section.id, call.host):
            raise UsageError(
                f"{section.id} is not on the hub, so it has no commits",
                fix="leave --pin out; of a local folder a digest of its weights goes into the artifact's key",
            )
        sets = (*sets, f"model.revision={resolve_model(section, call.host, tell=call.tell).commit}")
        profile = load_profile(reference, call.host, sets=sets)
    data: dict[str, object] = {
        "name": profile.name,
        "path": str(profile.path),
        "files": [str(file) for file in profile.files],
        "values": {
            value.key: {"value": value.value, "origin": str(value.origin)} for value in values_of(profile)
        },
    }
    text = None if call.as_json else profile_as_yaml(profile, origins=origins)
    return Result("profiles show", data, findings=profile.findings, text=text)


def validate(call: Invocation, references: list[str]) -> Result:
    """Check each profile. Raises ProfileErrors with every mistake of all of them."""
    from neuronctl.profile.resolve import validate_profile

    if not references:
        raise UsageError("no profile is named", fix="neuronctl profiles validate profiles/*.yaml")
    found: list[ProfileError] = []
    for reference in references:
        errors = validate_profile(reference, call.host)
        call.data[reference] = "wrong" if errors else "valid"
        found += errors
    if found:
        raise ProfileErrors(found)
    text = "\n".join(f"{reference}: valid" for reference in references)
    return Result("profiles validate", dict(call.data), text=text)


def schema() -> Result:
    """The JSON Schema of a profile."""
    import json

    from neuronctl.profile.reference import json_schema

    content = json_schema()
    return Result("profiles schema", content, text=json.dumps(content, indent=2))
