"""`neuronctl cache`."""

from __future__ import annotations

from neuronctl.artifacts.artifact import Artifact, Damaged
from neuronctl.artifacts.store import Store
from neuronctl.cli.invocation import Invocation
from neuronctl.cli.table import columns
from neuronctl.errors import ArtifactDamaged, Exit, UsageError
from neuronctl.result import Result


def list_artifacts(call: Invocation) -> Result:
    """All artifacts, and what is in quarantine."""
    from neuronctl.model.size import size_in_words

    store = Store.open(call.host)
    found, quarantined = store.artifacts(), store.quarantined()
    rows = [("KEY", "PROFILE", "MODEL", "BACKEND", "SIZE", "BUILT")]
    for one in found:
        if isinstance(one, Damaged):
            rows.append((one.key, "damaged", one.reason, "", "", ""))
        else:
            m = one.manifest
            rows.append((one.key, m.profile, m.model, m.backend, size_in_words(m.size_bytes), m.built.at))
    lines = [columns(rows)] if found else ["no artifacts"]
    if quarantined:
        lines += ["", "in quarantine"]
        lines += [f"  {one.path}\n    {one.reason}" for one in quarantined]
    data: dict[str, object] = {
        "root": str(store.root),
        "artifacts": [_described(one) for one in found],
        "quarantined": [
            {"key": one.key, "path": str(one.path), "at": one.at, "reason": one.reason} for one in quarantined
        ],
    }
    return Result("cache list", data, text="\n".join(lines))


def show(call: Invocation, key: str) -> Result:
    """An artifact's manifest."""
    from msgspec import to_builtins

    from neuronctl.model.size import size_in_words

    artifact = _find(Store.open(call.host), key)
    if isinstance(artifact, Damaged):
        raise ArtifactDamaged(artifact.reason, fix="compile the profile again")
    manifest = artifact.manifest
    lines = [
        f"key       {artifact.key}",
        f"profile   {manifest.profile}",
        f"model     {manifest.model}",
        f"backend   {manifest.backend}",
        f"built     {manifest.built.at} by neuronctl {manifest.built.neuronctl}",
        f"with      {', '.join(f'{name} {version}' for name, version in manifest.built.versions.items())}",
        f"took      {', '.join(f'{name} {seconds:.1f} s' for name, seconds in manifest.phases_s.items())}",
        f"memory    {size_in_words(manifest.peak_memory_bytes)} at most"
        if manifest.peak_memory_bytes
        else "",
        f"where     {artifact.tree}",
        f"size      {size_in_words(manifest.size_bytes)} in {len(manifest.files)} files",
        *(f"asked     {one.prompt}\nsaid      {one.answer.strip()}" for one in manifest.smoke),
    ]
    return Result("cache show", to_builtins(manifest), text="\n".join(filter(None, lines)))


def verify(call: Invocation, keys: list[str], *, quick: bool) -> Result:
    """Compare artifacts with their manifests; exit 12 if one is damaged."""
    from neuronctl.artifacts.verify import verify_full, verify_quick

    store = Store.open(call.host)
    chosen = [_find(store, key) for key in keys] if keys else store.artifacts()
    results, lines, damaged = [], [], 0
    for one in chosen:
        if isinstance(one, Damaged):
            problems = [one.reason]
        else:
            problems = [str(problem) for problem in (verify_quick if quick else verify_full)(one)]
        damaged += bool(problems)
        results.append({"key": one.key, "problems": problems})
        lines.append(f"{one.key}  {'damaged' if problems else 'whole'}")
        lines += [f"  {problem}" for problem in problems]
    if damaged:
        lines.append("try: compile the profile again; what is damaged is then quarantined")
    return Result(
        "cache verify",
        {"artifacts": results, "damaged": damaged},
        exit_code=Exit.ARTIFACT_DAMAGED if damaged else Exit.DONE,
        text="\n".join(lines) if lines else "no artifacts",
    )


def path(call: Invocation, key: str | None) -> Result:
    """Where the store is, or an artifact's tree."""
    store = Store.open(call.host)
    where = store.root
    if key is not None:
        found = _find(store, key)
        where = found.path if isinstance(found, Damaged) else found.tree
    return Result("cache path", {"path": str(where)}, text=str(where))


def _find(store: Store, key: str) -> Artifact | Damaged:
    """The one artifact whose key begins with `key`. Raises UsageError for none or several."""
    matches = [one for one in store.artifacts() if one.key.startswith(key)]
    if len(matches) == 1:
        return matches[0]
    if not matches:
        raise UsageError(
            f"no artifact has a key that begins with {key}",
            fix="neuronctl cache list",
            code="cache.no-such-key",
        )
    raise UsageError(
        f"{key} is not enough: it begins {', '.join(one.key for one in matches[:5])}",
        fix="give more of the key",
        code="cache.ambiguous-key",
    )


def _described(one: Artifact | Damaged) -> dict[str, object]:
    if isinstance(one, Damaged):
        return {"key": one.key, "path": str(one.path), "damaged": one.reason}
    manifest = one.manifest
    return {
        "key": one.key,
        "path": str(one.path),
        "profile": manifest.profile,
        "model": manifest.model,
        "backend": manifest.backend,
        "size_bytes": manifest.size_bytes,
        "built_at": manifest.built.at,
    }
