"""A tiny real bundle: the network answers with the mean colour of the image, so its classes are certain.

It fails, as a network can, on one colour.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper
from PIL import Image

from linnet.bundle import sha256_of, write_bundle
from linnet.manifest import Manifest
from linnet.preprocess import load_image
from linnet.session import Placement, open_network

CLASSES = ("red", "green", "blue")
METRICS: dict[str, Any] = {
    "split": "test",
    "n": 200,
    "correct": 193,
    "accuracy": 0.965,
    "loss": 0.11,
    "accuracy_low": 0.93,
    "accuracy_high": 0.983,
    "confusion": [[66, 0, 1], [2, 64, 1], [2, 1, 63]],
}
OUTPUTS = ("probabilities", "logits", "embedding")
SIDE_PX = 16
WORK_SIDE = 400
FAILING_RED = 77  # an image whose mean red is exactly this makes ONNX Runtime raise
COLOURS = {"poison": (FAILING_RED, 0, 0), "red": (250, 10, 10), "green": (10, 250, 10), "blue": (10, 10, 250)}


def png(colour: str = "red", size: tuple[int, int] = (20, 20), image_format: str = "PNG") -> bytes:
    """Return an encoded image of one colour."""
    buffer = io.BytesIO()
    Image.new("RGB", size, COLOURS[colour]).save(buffer, image_format)
    return buffer.getvalue()


@dataclass(frozen=True)
class Character:
    """What is special about a network."""

    products: int = 0  # of matrices, each a few milliseconds of work per batch, whatever its size
    batch: int | str = "N"  # a number makes every other batch fail


ORDINARY = Character()


def write_model(
    models_dir: Path, name: str = "colours", version: int = 1, character: Character = ORDINARY, **changes: Any
) -> Path:
    """Write a bundle that tells red, green and blue apart; `changes` replace keys of its manifest."""
    models_dir.mkdir(parents=True, exist_ok=True)
    source = models_dir.parent / f"{name}-{version}.onnx"
    onnx.save(_network(character), str(source))
    try:
        manifest = Manifest.model_validate(_manifest(source, name, version) | changes)
        return write_bundle(models_dir, manifest, {"model.onnx": source})
    finally:
        source.unlink()


def _network(character: Character) -> onnx.ModelProto:
    """Return the graph: uint8 [N, 16, 16, 3] -> mean colour [N, 3] -> logits -> probabilities.

    The failure is an index out of range: 1 into a table of one row.
    """
    shape: list[str | int | None] = [character.batch, SIDE_PX, SIDE_PX, 3]
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float", "axes"], ["embedding"], keepdims=0),
        helper.make_node("Div", ["embedding", "scale"], ["scaled"]),
        helper.make_node("Gather", ["embedding", "first"], ["red"], axis=1),
        helper.make_node("Equal", ["red", "failing_red"], ["is_poison"]),
        helper.make_node("Cast", ["is_poison"], ["row"], to=TensorProto.INT64),
        helper.make_node("Gather", ["zeros", "row"], ["nothing"], axis=0),
        *_work(character.products),
        helper.make_node("Sum", ["scaled", "nothing", "worked"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, [character.batch, 3]) for output in OUTPUTS],
        [
            helper.make_tensor("axes", TensorProto.INT64, [2], [1, 2]),
            helper.make_tensor("scale", TensorProto.FLOAT, [], [50.0]),
            helper.make_tensor("first", TensorProto.INT64, [], [0]),
            helper.make_tensor("failing_red", TensorProto.FLOAT, [], [float(FAILING_RED)]),
            helper.make_tensor("zeros", TensorProto.FLOAT, [1, 3], [0.0] * 3),
            helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0]),
            helper.make_tensor("square", TensorProto.INT64, [2], [WORK_SIDE, WORK_SIDE]),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def _work(products: int) -> list[onnx.NodeProto]:
    """Return nodes that multiply matrices made of the input and add nothing to the answer."""
    if products == 0:
        return [helper.make_node("Identity", ["zero"], ["worked"])]
    nodes = [
        helper.make_node("ReduceMean", ["embedding"], ["mean"], keepdims=0),
        helper.make_node("Expand", ["mean", "square"], ["matrix_0"]),
    ]
    for number in range(products):
        nodes += [
            helper.make_node("MatMul", [f"matrix_{number}"] * 2, [f"product_{number}"]),
            helper.make_node("Tanh", [f"product_{number}"], [f"matrix_{number + 1}"]),
        ]
    return [
        *nodes,
        helper.make_node("ReduceMax", [f"matrix_{products}"], ["largest"], keepdims=0),
        helper.make_node("Mul", ["largest", "zero"], ["worked"]),
    ]


def _manifest(source: Path, name: str, version: int) -> dict[str, Any]:
    preprocess = {"size_px": SIDE_PX, "mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}
    manifest: dict[str, Any] = {
        "name": name,
        "version": version,
        "variants": [
            {
                "precision": "fp32",
                "file": "model.onnx",
                "sha256": sha256_of(source),
                "size_bytes": source.stat().st_size,
                "metrics": METRICS,
            }
        ],
        "input": {"name": "image", "dtype": "uint8", "shape": (-1, SIDE_PX, SIDE_PX, 3)},
        "outputs": [{"name": output, "dtype": "float32", "shape": (-1, 3)} for output in OUTPUTS],
        "classes": CLASSES,
        "preprocess": preprocess,
        "calibration": {"temperature": 1.0},
        "parity": {"n": 3, "top1_agreement": 1.0, "max_probability_difference": 0.0, "batch_sizes": (1,)},
        "provenance": {
            "created": "2026-01-01T00:00:00Z",
            "backbone": "mean colour",
            "weights": "none",
            "data": "three colours",
            "recipe": {},
            "seed": 0,
            "run_seconds": 0.0,
            "device": "cpu",
            "git_revision": None,
            "libraries": {},
        },
        "licence": "none needed",
    }
    images = [png(colour) for colour in CLASSES]
    network = open_network(source, Placement("cpu"))
    spec = Manifest.model_validate(
        manifest | {"self_test": [{"image_png": "", "probabilities": {"fp32": (1.0, 0.0, 0.0)}}]}
    ).preprocess
    rows = network(np.stack([load_image(image, spec) for image in images])).probabilities
    manifest["self_test"] = [
        {"image_png": base64.b64encode(image).decode(), "probabilities": {"fp32": tuple(float(p) for p in row)}}
        for image, row in zip(images, rows, strict=True)
    ]
    return manifest
