"""Reads a recipe from its TOML file: what phases share, overrides, what the backbone implies, and what is wrong.

`[optim]` and `[augment]` at the top are what every phase starts from; a `[[phase]]` may override any of their keys.
Must not import torch.
"""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from linnet.errors import PathNotFound
from linnet.preprocess import PreprocessSpec
from trainer.architectures import ARCHITECTURES, TIMM_PREFIX, Architecture
from trainer.errors import InvalidRecipe, UnknownBackbone
from trainer.recipe import Augment, Compute, Data, Evaluate, Network, Optim, Phase, Recipe, Tracking

SHARED_TABLES = ("optim", "augment")
NO_PHASE = "reaches no phase: a head phase trains on features computed once, unless cache_features = false"


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a TOML recipe and apply `overrides` of the form `table.key=value` (a TOML value, or a bare string).

    A phase is named by its name or position: `phase.finetune.epochs=3`. `optim.lr=3e-4` sets every phase.
    Raises `PathNotFound` or `InvalidRecipe`.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError) as error:
        raise PathNotFound(path, "recipe") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidRecipe(path, f"it is not TOML ({error})") from error
    overrides = [one for override in overrides for one in _spelt_out(override, raw)]
    for override in overrides:
        if not _is_of_shared(override):
            _apply(raw, override, path)
    _share(raw, path)
    for override in overrides:  # the last one wins, whether it is for all phases or for one
        if _is_of_shared(override):
            _apply(raw, override, path)
    _imply_input(raw)
    try:
        return Recipe.model_validate(raw)
    except ValidationError as error:
        raise InvalidRecipe(path, _in_words(error)) from error


def _share(raw: dict[str, Any], path: Path) -> None:
    """Move the shared tables into the phases they reach."""
    shared = {name: raw.pop(name) for name in SHARED_TABLES if name in raw}
    for name, table in shared.items():
        if not isinstance(table, dict):
            raise InvalidRecipe(path, f"{name!r} must be a table")
        phases = _phases_sharing(name, raw)
        if not phases and _phases(raw):
            raise InvalidRecipe(path, f"[{name}] {NO_PHASE}")
        for phase in phases:
            own = phase.get(name, {})
            phase[name] = {**table, **own} if isinstance(own, dict) else own


def _imply_input(raw: dict[str, Any]) -> None:
    """Fill in the input that the backbone was made for, where the recipe does not say."""
    preprocess, network = raw.setdefault("preprocess", {}), raw.get("network", {})
    if isinstance(preprocess, dict) and isinstance(network, dict):
        architecture = architecture_named(str(network.get("backbone", Network().backbone)))
        for key in ("size_px", "mean", "std"):
            preprocess.setdefault(key, getattr(architecture, key))


def architecture_named(backbone: str) -> Architecture:
    """Return the input that a backbone was made for. Raises `UnknownBackbone` or `TimmMissing`."""
    if backbone.startswith(TIMM_PREFIX):
        from trainer.timm_backbones import timm_architecture

        return timm_architecture(backbone)
    if backbone not in ARCHITECTURES:
        raise UnknownBackbone(backbone, list(ARCHITECTURES))
    return ARCHITECTURES[backbone]


def _phases(raw: dict[str, Any]) -> list[dict[str, Any]]:
    phases = raw.get("phase")
    return [phase for phase in phases if isinstance(phase, dict)] if isinstance(phases, list) else []


def _phases_sharing(name: str, raw: dict[str, Any]) -> list[dict[str, Any]]:
    """List the phases that a shared table reaches: augmentation passes over those on cached features."""
    return [phase for phase in _phases(raw) if name != "augment" or not _trains_on_features(phase)]


def _trains_on_features(phase: dict[str, Any]) -> bool:
    return phase.get("unfreeze") == "head" and phase.get("cache_features") is not False


def _spelt_out(override: str, raw: dict[str, Any]) -> list[str]:
    """Name the phase of an override by its position, for a name may change, and a table by its keys."""
    key, separator, text = override.partition("=")
    parts = key.strip().split(".")
    if not separator or len(parts) < 3 or parts[0] != "phase" or parts[2] not in SHARED_TABLES:
        return [override]
    names = [phase.get("name") for phase in _phases(raw)]
    if parts[1] in names:
        parts[1] = str(names.index(parts[1]))
    value = _value(text)
    if len(parts) == 3 and isinstance(value, dict):
        return [f"{'.'.join(parts)}.{name}={json.dumps(item)}" for name, item in value.items()]
    return [f"{'.'.join(parts)}={text}"]


def _is_of_shared(override: str) -> bool:
    """Tell whether a shared table is overridden, in every phase or a key of it in one: `phase.head.optim.lr=1e-3`."""
    parts = override.partition("=")[0].strip().split(".")
    return parts[0] in SHARED_TABLES or (len(parts) > 3 and parts[0] == "phase" and parts[2] in SHARED_TABLES)


def _apply(raw: dict[str, Any], override: str, path: Path) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key.strip():
        raise InvalidRecipe(path, f"--set {override} is not of the form KEY=VALUE")
    parts = key.strip().split(".")
    targets = [raw]
    if parts[0] in SHARED_TABLES:
        targets = _phases_sharing(parts[0], raw)
        if not targets and _phases(raw):
            raise InvalidRecipe(path, f"--set {override} {NO_PHASE}")
    for table in targets:
        _set(table, parts, _value(text), override, path)


def _set(table: Any, parts: Sequence[str], value: object, override: str, path: Path) -> None:
    for part in parts[:-1]:
        if isinstance(table, list):
            named = [item for i, item in enumerate(table) if part in (str(i), item.get("name"))]
            if not named:
                raise InvalidRecipe(path, f"--set {override} names no phase {part!r}")
            table = named[0]
        else:
            table = table.setdefault(part, {})
        if not isinstance(table, dict | list):
            raise InvalidRecipe(path, f"--set {override}: {part!r} is not a table")
    if not isinstance(table, dict):
        raise InvalidRecipe(path, f"--set {override} needs the name of a phase and a key")
    table[parts[-1]] = value


def _value(text: str) -> object:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _in_words(error: ValidationError) -> str:
    """Say the first problem; for an unknown key, the known one that looks most like it."""
    problem = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        known = _known_keys(problem["loc"])
        close = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1)
        advice = f"did you mean {close[0]!r}?" if close else f"known here are {', '.join(known)}"
        return f"the key {where!r} is unknown; {advice}"
    if problem["type"] == "missing":
        return f"the key {where!r} is missing"
    message = problem["msg"].removeprefix("Value error, ")
    return f"{where}: {message}" if where else message


def _known_keys(location: Sequence[str | int]) -> list[str]:
    """List the keys that the table around `location` knows."""
    tables: dict[str, type[BaseModel]] = {
        "data": Data,
        "preprocess": PreprocessSpec,
        "network": Network,
        "compute": Compute,
        "phase": Phase,
        "optim": Optim,
        "augment": Augment,
        "evaluate": Evaluate,
        "tracking": Tracking,
    }
    names = [part for part in location[:-1] if isinstance(part, str)]
    if not names:
        return [*Recipe.model_fields, *SHARED_TABLES]
    return list(tables[names[-1]].model_fields)
