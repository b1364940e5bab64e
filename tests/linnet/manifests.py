"""Manifests and network files for the tests of the core: small, complete, and valid."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

from linnet.bundle import file_name
from linnet.manifest import Manifest, Precision
from tests.golden.pictures import encode, quarters

CLASSES = ("cat", "dog", "newt")
SIZE_PX = 16
CONTENTS: dict[Precision, bytes] = {"fp32": b"a network", "int8": b"a small network"}


def image_base64() -> str:
    """Return a picture as the self-test stores it."""
    return base64.b64encode(encode(quarters(size=(SIZE_PX, SIZE_PX)), "PNG")).decode()


def manifest(contents: dict[Precision, bytes], **changes: Any) -> Manifest:
    """Return a manifest of variants with these files' contents; `changes` replace top-level keys."""
    scores = {
        "split": "test", "n": 10, "correct": 9, "accuracy": 0.9, "loss": 0.3, "f1": 0.88, "accuracy_low": 0.596,
        "accuracy_high": 0.982,
    }  # fmt: skip
    document: dict[str, Any] = {
        "format_version": 2,
        "name": "pets",
        "version": 1,
        "variants": [
            {
                "precision": precision,
                "file": file_name(precision),
                "sha256": hashlib.sha256(content).hexdigest(),
                "size_bytes": len(content),
                "metrics": scores,
                "calibration": {"temperature": 1.2},
            }
            for precision, content in contents.items()
        ],
        "input": {"name": "image", "dtype": "uint8", "shape": (-1, SIZE_PX, SIZE_PX, 3)},
        "outputs": [{"name": "probabilities", "dtype": "float32", "shape": (-1, len(CLASSES))}],
        "classes": CLASSES,
        "preprocess": {"size_px": SIZE_PX, "mean": (0.5, 0.5, 0.5), "std": (0.2, 0.2, 0.2)},
        "parity": {"n": 10, "top1_agreement": 1.0, "max_probability_difference": 1e-7, "batch_sizes": (1, 2)},
        "self_test": [{"image_png": image_base64(), "probabilities": dict.fromkeys(contents, (0.5, 0.25, 0.25))}],
        "provenance": {
            "created": "2025-01-02T03:04:05Z",
            "backbone": "resnet18",
            "weights": "none",
            "data": "drawings",
            "recipe": {"optim": {"lr": 1e-3}},
            "seed": 0,
            "run_seconds": 1.5,
            "device": "cpu",
            "git_revision": None,
            "libraries": {"torch": "2.9.0"},
        },
        "licence": "drawings: public domain",
    }
    return Manifest.model_validate({**document, **changes})


def write_sources(directory: Path, contents: dict[Precision, bytes]) -> dict[str, Path]:
    """Write the variants' contents as loose files and return them as `write_bundle` wants them."""
    directory.mkdir(parents=True, exist_ok=True)
    sources = {}
    for precision, content in contents.items():
        source = directory / f"source-{precision}"
        source.write_bytes(content)
        sources[file_name(precision)] = source
    return sources
