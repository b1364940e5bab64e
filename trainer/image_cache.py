"""Decoded images kept on the disk, so that no later run decodes the same files for the same preprocessing.

A file holds the pixels of a split, uint8 [N, H, W, 3], and after them their SHA-256. Its name is a digest of all that
decides the pixels: the contents of the files in their order, the preprocessing, and the version of the decoder. Safe to
delete at any time.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt
import PIL
import torch

from linnet.preprocess import PreprocessSpec
from trainer.data import Example
from trainer.disk import check_space, replacing
from trainer.images import Advance, decode, decode_in_chunks

FORMAT = 1
DIGEST_BYTES = 32
MAPPED_FROM_BYTES = 2**31  # larger splits stay on the disk and are read page by page
STALE_S = 86_400
ADVICE = "free some, choose another folder with --cache DIR, or keep none with --cache none"

Pixels = npt.NDArray[np.uint8]


def default_cache() -> Path | None:
    """Return the user's cache folder for decoded images, made if need be; None where there can be none."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "linnet"
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return root if os.access(root, os.W_OK) else None


def decode_cached(
    examples: Sequence[Example],
    digests: Sequence[str],
    spec: PreprocessSpec,
    folder: Path | None,
    advance: Advance = lambda _: None,
) -> torch.Tensor:
    """Return the images as uint8 [N, H, W, 3], from the cache if it has them unharmed, else decoded into it.

    `digests` are those of the files. Without a folder the images are decoded into memory. Raises `UnreadableFiles`,
    after all files were tried, or `DiskFull`.
    """
    if folder is None:
        return decode(examples, spec, advance)
    path = folder / f"{_key(digests, spec)}.images"
    shape = (len(examples), spec.size_px, spec.size_px, 3)
    pixels = _read(path, shape)
    if pixels is None:
        _write(path, examples, spec, shape, advance)
        pixels = _open(path, shape)
    else:
        advance(len(examples))
    return torch.from_numpy(pixels)


def _key(digests: Sequence[str], spec: PreprocessSpec) -> str:
    decoded_by = {"format": FORMAT, "pillow": PIL.__version__, **spec.model_dump(mode="json", exclude={"mean", "std"})}
    text = "\n".join([json.dumps(decoded_by, sort_keys=True), *digests])
    return hashlib.sha256(text.encode()).hexdigest()


def _read(path: Path, shape: tuple[int, ...]) -> Pixels | None:
    """Return the pixels of a file whose digest is that of its content, else None."""
    if not path.is_file() or path.stat().st_size != np.prod(shape) + DIGEST_BYTES:
        return None
    pixels = _open(path, shape)
    with path.open("rb") as file:
        file.seek(-DIGEST_BYTES, os.SEEK_END)
        return pixels if hashlib.sha256(pixels.data).digest() == file.read() else None


def _open(path: Path, shape: tuple[int, ...]) -> Pixels:
    """Read the file into memory, or map it copy-on-write where it is large."""
    if np.prod(shape) >= MAPPED_FROM_BYTES:
        return np.memmap(path, np.uint8, mode="c", shape=shape)
    return np.fromfile(path, np.uint8, int(np.prod(shape))).reshape(shape)


def _write(
    path: Path, examples: Sequence[Example], spec: PreprocessSpec, shape: tuple[int, ...], advance: Advance
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    for left_over in path.parent.glob(".*.part"):
        with suppress(FileNotFoundError):  # another training has just finished it
            if time.time() - left_over.lstat().st_mtime > STALE_S:
                left_over.unlink(missing_ok=True)
    check_space(path.parent, int(np.prod(shape)) + DIGEST_BYTES, ADVICE)
    staging = path.with_name(f".{path.stem}.{uuid.uuid4().hex}.part")  # processes of two hosts may have one number
    digest = hashlib.sha256()
    with replacing(path, staging, ADVICE), staging.open("wb") as file:
        for chunk in decode_in_chunks(examples, spec, advance):
            digest.update(chunk.data)
            file.write(chunk.data)
        file.write(digest.digest())
