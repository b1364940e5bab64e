"""The bundle: a directory that holds a network, everything needed to use it, and the evidence for its quality.

    models/<name>/<version>/bundle.json     what it states of itself (`linnet.manifest`)
    models/<name>/<version>/model.onnx      fp32; further variants beside it

Export writes bundles, the service reads them. A bundle is written to a temporary directory and renamed, so that a
reader never sees half of one, and it is never overwritten. Must not import torch, ONNX Runtime or a web framework.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, ValidationError

from linnet.errors import BundleExists, BundleNotFound, CorruptBundle, InvalidManifest
from linnet.manifest import Manifest, Precision, Variant

MANIFEST_FILE = "bundle.json"


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


def file_name(precision: Precision) -> str:
    """Return what the file of a variant is called."""
    return "model.onnx" if precision == "fp32" else f"model.{precision}.onnx"


def verify_files(directory: Path, manifest: Manifest) -> None:
    """Check that every variant's file is there and is the one that was measured, by size and SHA-256.

    Raises `CorruptBundle`.
    """
    for variant in manifest.variants:
        path = directory / variant.file
        try:
            _verify_file(path, variant)
        except OSError as error:
            raise CorruptBundle(path, f"cannot be read ({error.strerror or error})") from error


def _verify_file(path: Path, variant: Variant) -> None:
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
    """List the directories `<name>/<integer>` of a model repository, ordered by name and version.

    A folder that is not there, or not for this user, holds none. Raises `OSError` where one cannot be listed just now.
    """
    found = [version for name in _folders_in(models_dir) for version in _folders_in(name) if version.name.isdecimal()]
    return sorted(found, key=lambda path: (path.parent.name, int(path.name)))


def _folders_in(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return [path for entry in entries if _is_folder(path := folder / entry.name)]
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except PermissionError:  # a link to where this user may not go
        return False


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
