"""The bundle: a directory that holds a network, everything needed to use it, and the evidence for its quality.

    models/<name>/<version>/bundle.json     the manifest below
    models/<name>/<version>/model.onnx      fp32; further variants beside it

Export writes bundles, the service reads them. A bundle is written to a temporary directory and renamed, so that a
reader never sees half of one, and it is never overwritten. Must not import torch, ONNX Runtime or a web framework.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from linnet.errors import BundleExists, BundleNotFound, CorruptBundle, InvalidManifest
from linnet.preprocess import PreprocessSpec

MANIFEST_FILE = "bundle.json"
MODEL_NAME_PATTERN = r"^[a-z0-9][a-z0-9_.-]{0,63}$"

Precision = Literal["fp32", "int8", "fp16"]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Record(BaseModel):
    """A part of a manifest: immutable, and any unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Metrics(Record):
    """What one variant's very file scored on one split, read through `load_image` and ONNX Runtime."""

    split: Literal["test", "val"]
    n: int = Field(ge=1, description="images")
    correct: int = Field(ge=0, description="images whose top-1 class is the label")
    accuracy: float = Field(ge=0.0, le=1.0, description="correct / n")
    loss: float = Field(ge=0.0, description="mean cross-entropy, nats")


class Variant(Record):
    """One file with the network at one precision."""

    precision: Precision
    file: str = Field(pattern=r"^[A-Za-z0-9_.-]+\.onnx$")
    sha256: Sha256
    size_bytes: int = Field(ge=1)
    metrics: Metrics


class Tensor(Record):
    """A named input or output of the graph; -1 in the shape is the batch."""

    name: str
    dtype: Literal["uint8", "float32"]
    shape: tuple[int, ...]


class Calibration(Record):
    """How logits became probabilities; already applied inside the graph."""

    temperature: float = Field(gt=0.0)


class Parity(Record):
    """The trainer's network against ONNX Runtime on the fp32 file."""

    n: int = Field(ge=1, description="images compared")
    top1_agreement: float = Field(ge=0.0, le=1.0)
    max_probability_difference: float = Field(ge=0.0)
    batch_sizes: tuple[int, ...] = Field(description="batch sizes whose outputs were compared as well")


class SelfTestCase(Record):
    """A stored image and what each variant answered to it when it was measured."""

    image_png: str = Field(description="the encoded image, base64; PNG, so that no decoder can differ")
    probabilities: dict[Precision, tuple[float, ...]]

    @field_validator("image_png")
    @classmethod
    def _is_base64(cls, text: str) -> str:
        base64.b64decode(text, validate=True)
        return text


class Provenance(Record):
    """Where the bundle comes from."""

    created: str = Field(description="UTC, ISO 8601")
    backbone: str
    weights: str = Field(description="what the backbone started from")
    data: str = Field(description="what it was trained and tested on")
    recipe: dict[str, Any] = Field(description="the resolved recipe of the run")
    seed: int
    run_seconds: float = Field(ge=0.0)
    device: str
    git_revision: str | None
    libraries: dict[str, str]


class Manifest(Record):
    """All that is known of a bundle; `bundle.json`."""

    format_version: Literal[1] = 1
    name: str = Field(pattern=MODEL_NAME_PATTERN)
    version: int = Field(ge=1)
    variants: tuple[Variant, ...] = Field(min_length=1)
    input: Tensor
    outputs: tuple[Tensor, ...] = Field(min_length=1)
    classes: tuple[str, ...] = Field(min_length=2)
    preprocess: PreprocessSpec
    calibration: Calibration
    parity: Parity
    self_test: tuple[SelfTestCase, ...] = Field(min_length=1)
    provenance: Provenance
    licence: str = Field(description="licences and credits of weights and data")

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Manifest:
        precisions = [variant.precision for variant in self.variants]
        if len(set(precisions)) != len(precisions):
            raise ValueError("two variants have the same precision")
        if len(set(self.classes)) != len(self.classes):
            raise ValueError("two classes have the same name")
        for case in self.self_test:
            if set(case.probabilities) != set(precisions):
                raise ValueError("the self-test does not cover exactly the variants")
            if any(len(row) != len(self.classes) for row in case.probabilities.values()):
                raise ValueError("a self-test row does not have one probability per class")
        return self

    def variant(self, precision: Precision) -> Variant | None:
        """Return the variant of that precision, or None."""
        return next((variant for variant in self.variants if variant.precision == precision), None)


def read_manifest(directory: Path) -> Manifest:
    """Read `bundle.json` of a bundle directory.

    Raises `BundleNotFound` without the file, `InvalidManifest` where it does not follow the schema.
    """
    path = directory / MANIFEST_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BundleNotFound(directory) from error
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidManifest(path, str(error)) from error
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        raise InvalidManifest(path, first_problem(error)) from error


def verify_files(directory: Path, manifest: Manifest) -> None:
    """Check that every variant's file is there and is the one that was measured, by size and SHA-256.

    Raises `CorruptBundle`.
    """
    for variant in manifest.variants:
        path = directory / variant.file
        if not path.is_file():
            raise CorruptBundle(path, "is missing")
        if path.stat().st_size != variant.size_bytes:
            raise CorruptBundle(path, f"has {path.stat().st_size} bytes instead of {variant.size_bytes}")
        if sha256_of(path) != variant.sha256:
            raise CorruptBundle(path, "has another SHA-256 than the manifest states")


def write_bundle(models_dir: Path, manifest: Manifest, files: Mapping[str, Path]) -> Path:
    """Write `models_dir/<name>/<version>/` whole or not at all, and return that directory.

    `files` maps each variant's file name to where its content lies now. Raises `BundleExists`, or `CorruptBundle` where
    a file is not the one the manifest describes.
    """
    destination = models_dir / manifest.name / str(manifest.version)
    if destination.exists():
        raise BundleExists(destination)
    destination.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{manifest.version}-", dir=destination.parent))
    try:
        for name, source in files.items():
            shutil.copyfile(source, staging / name)
        (staging / MANIFEST_FILE).write_text(to_json(manifest), encoding="utf-8")
        verify_files(staging, manifest)
        staging.chmod(0o755)
        staging.rename(destination)
    except BaseException as error:
        shutil.rmtree(staging, ignore_errors=True)
        if isinstance(error, OSError) and error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise BundleExists(destination) from error  # another process finished this version first
        raise
    return destination


def next_version(models_dir: Path, name: str) -> int:
    """Return the integer after the highest version of `name` in `models_dir`; 1 for a new name."""
    return max((int(path.name) for path in bundle_directories(models_dir) if path.parent.name == name), default=0) + 1


def bundle_directories(models_dir: Path) -> Sequence[Path]:
    """List the directories `<name>/<integer>` of a model repository, ordered by name and version."""
    found = [path for path in models_dir.glob("*/*") if path.is_dir() and path.name.isdecimal()]
    return sorted(found, key=lambda path: (path.parent.name, int(path.name)))


def to_json(record: BaseModel) -> str:
    """Return the record as JSON text for people and for diffs: indented, keys in schema order."""
    return json.dumps(record.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def first_problem(error: ValidationError) -> str:
    """Put the first complaint of a pydantic error into words: where, and what."""
    problem = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in problem["loc"])
    return f"{where}: {problem['msg']}" if where else str(problem["msg"])
