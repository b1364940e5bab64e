"""The recipe: everything that decides a run, read from TOML into frozen models that reject unknown keys.

`[optim]` and `[augment]` at the top are what every phase starts from; a `[[phase]]` may override any of their keys. The
resolved recipe, with nothing left implicit, is written into the run and can be fed back.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from linnet.errors import PathNotFound
from linnet.preprocess import PreprocessSpec
from trainer.errors import InvalidRecipe

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

SHARED_TABLES = ("optim", "augment")
NO_PHASE = "reaches no phase: a head phase trains on features computed once"


class Table(BaseModel):
    """A table of the recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Data(Table):
    """Which images, and how they are split."""

    source: Literal["folder", "cifar10"] = Field(
        default="folder", description="'folder': one folder per class; 'cifar10': torchvision downloads it into `path`"
    )
    path: Path = Field(description="folder of the images, relative to the working directory")
    validation_fraction: float = Field(default=0.1, gt=0.0, lt=0.9, description="share of train that selection uses")
    test_fraction: float = Field(default=0.2, gt=0.0, lt=0.9, description="share of all, where there is no test folder")
    description: str = Field(default="", description="how reports name the data")
    licence: str = Field(default="", description="licence of the data, copied into the bundle")


BackboneName = Literal["mobilenet_v2"]


class Network(Table):
    """The backbone, what it starts from, and the head on top."""

    backbone: BackboneName = "mobilenet_v2"
    weights: str = Field(default="imagenet", description="'imagenet', 'none', or the path of a safetensors file")
    weights_licence: str = Field(default="", description="licence of the weights, copied into the bundle")
    dropout: float = Field(default=0.2, ge=0.0, lt=1.0)


class Optim(Table):
    """Optimizer and schedule of a phase."""

    name: Literal["adamw", "sgd"] = "adamw"
    lr: float = Field(default=1e-3, gt=0.0, description="peak learning rate")
    backbone_lr_scale: float = Field(
        default=1.0, gt=0.0, description="learning rate of the backbone over that of the head"
    )
    weight_decay: float = Field(default=0.01, ge=0.0, description="not applied to norms and biases")
    momentum: float = Field(default=0.9, ge=0.0, lt=1.0, description="SGD only, Nesterov")
    schedule: Literal["cosine", "one-cycle", "constant"] = "cosine"
    schedule_epochs: int = Field(
        default=0, ge=0, description="length of the schedule in epochs, where it is not that of the phase; 0 is that"
    )
    warmup: float = Field(default=0.1, ge=0.0, lt=1.0, description="share of the phase with a linearly rising rate")
    label_smoothing: float = Field(default=0.0, ge=0.0, lt=1.0)
    ema_decay: float = Field(
        default=0.0, ge=0.0, lt=1.0, description="moving average of the weights per step; 0 is off"
    )
    clip_norm: float = Field(default=0.0, ge=0.0, description="largest gradient norm; 0 is off")


class Augment(Table):
    """Random changes of the training images, drawn for each image anew."""

    flip: bool = Field(default=False, description="mirror half of the images")
    shift: float = Field(default=0.0, ge=0.0, le=0.5, description="largest shift over the side, edges mirrored")
    zoom: float = Field(default=1.0, gt=0.0, le=1.0, description="smallest share of the area that a random crop keeps")
    erase: float = Field(
        default=0.0, ge=0.0, lt=1.0, description="side of a blanked square over the image's side; 0 is off"
    )


class Phase(Table):
    """One stretch of training: what may move, for how long, and how."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    unfreeze: str | int = Field(
        description="'head', 'all', the last N layers as an integer, or the last N blocks as 'N blocks'"
    )
    epochs: int = Field(ge=1)
    batch_size: int = Field(default=64, ge=2)
    size_px: int | None = Field(default=None, ge=8, le=2048, description="another input size for this phase alone")
    patience: int = Field(
        default=0, ge=0, description="epochs without a better validation accuracy before stopping; 0 is off"
    )
    optim: Optim = Optim()
    augment: Augment = Augment()

    @field_validator("unfreeze")
    @classmethod
    def _names_a_part(cls, value: str | int) -> str | int:
        if isinstance(value, int):
            if value < 1:
                raise ValueError("must be at least 1 layer, or 'head'")
            return value
        words = value.split()
        blocks = len(words) == 2 and words[0].isdecimal() and words[1] == "blocks" and int(words[0]) >= 1
        if value not in ("head", "all") and not blocks:
            raise ValueError("must be 'head', 'all', a number of layers, or a string like '15 blocks'")
        return value

    @model_validator(mode="after")
    def _ends_within_its_schedule(self) -> Phase:
        if 0 < self.optim.schedule_epochs < self.epochs:
            raise ValueError(f"optim.schedule_epochs must be 0 or at least the phase's {self.epochs} epochs")
        return self

    @model_validator(mode="after")
    def _augments_only_images(self) -> Phase:
        if self.unfreeze == "head" and self.augment != Augment():
            raise ValueError("a head phase trains on features computed once, so it cannot augment images")
        return self


class Recipe(Table):
    """A whole recipe."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")
    seed: int = Field(default=0, ge=0)
    data: Data
    preprocess: PreprocessSpec
    network: Network = Network()
    phase: tuple[Phase, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_its_phases_apart(self) -> Recipe:
        names = [phase.name for phase in self.phase]
        if len(set(names)) != len(names):
            raise ValueError("two phases have the same name")
        return self


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
    raw = _resolve(raw, path)
    for override in overrides:
        _apply(raw, override, path)
    try:
        return Recipe.model_validate(raw)
    except ValidationError as error:
        raise InvalidRecipe(path, _in_words(error)) from error


def _resolve(raw: dict[str, Any], path: Path) -> dict[str, Any]:
    """Fill what every phase inherits and the normalisation that ImageNet weights expect."""
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
    preprocess = raw.get("preprocess")
    if isinstance(preprocess, dict):
        preprocess.setdefault("mean", IMAGENET_MEAN)
        preprocess.setdefault("std", IMAGENET_STD)
    return raw


def _phases(raw: dict[str, Any]) -> list[dict[str, Any]]:
    phases = raw.get("phase")
    return [phase for phase in phases if isinstance(phase, dict)] if isinstance(phases, list) else []


def _phases_sharing(name: str, raw: dict[str, Any]) -> list[dict[str, Any]]:
    """List the phases that a shared table reaches: augmentation passes over head phases."""
    return [phase for phase in _phases(raw) if name != "augment" or phase.get("unfreeze") != "head"]


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
        "phase": Phase,
        "optim": Optim,
        "augment": Augment,
    }
    names = [part for part in location[:-1] if isinstance(part, str)]
    if not names:
        return [*Recipe.model_fields, *SHARED_TABLES]
    return list(tables[names[-1]].model_fields)
