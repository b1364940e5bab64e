"""Tensors of the Open Inference Protocol: from a request's bytes to pixels, and from outputs to an answer's bytes.

JSON and the binary data extension, both ways; sizes are checked exactly. Must not import a web framework.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
from pydantic import ValidationError

from linnet.bundle import first_problem
from linnet.manifest import Manifest
from service.errors import RequestError, detached
from service.v2.errors import InvalidTensor, TensorTextTooLarge, UnknownOutput
from service.v2.schemas import InferInput, InferRequest

# Parsing holds the interpreter: about 10 ms per megabyte in which no probe is answered.
MAX_JSON_BYTES = 8 * 1024 * 1024
# One at a time: it holds the interpreter anyway, and the lists may have twenty times the bytes of their text.
_UNPACKING = threading.Lock()
DATATYPES = {"uint8": "UINT8", "float32": "FP32"}


@dataclass(frozen=True)
class Wanted:
    """One output that is asked for."""

    name: str
    is_binary: bool


@dataclass(frozen=True)
class Question:
    """A request, checked against the model it is for."""

    request_id: str | None
    images: npt.NDArray[np.uint8]  # [N, H, W, 3]
    outputs: Sequence[Wanted]


def read_question(body: bytes, json_bytes: int | None, manifest: Manifest) -> Question:
    """Read a request to the model of `manifest`; its first `json_bytes` are JSON, all of it where that is None.

    Raises `InvalidTensor`, `UnknownOutput` or `TensorTextTooLarge`.
    """
    text = body if json_bytes is None else body[:json_bytes]
    if json_bytes is not None and json_bytes > len(body):
        raise InvalidTensor(f"Inference-Header-Content-Length is {json_bytes} and the body has {len(body)} bytes")
    if len(text) > MAX_JSON_BYTES:
        raise TensorTextTooLarge(MAX_JSON_BYTES)
    with _UNPACKING:
        found = _unpacked(text, memoryview(body)[len(text) :], manifest)
    if isinstance(found, RequestError):
        raise found
    return found


def _unpacked(text: bytes, rest: memoryview, manifest: Manifest) -> Question | RequestError:
    """Return the question or what is wrong with it; the lists are gone by then, and those that a traceback holds."""
    try:
        return _question(text, rest, manifest)
    except RequestError as error:
        return detached(error)


def _question(text: bytes, rest: memoryview, manifest: Manifest) -> Question:
    try:
        request = InferRequest.model_validate(orjson.loads(text))
    except orjson.JSONDecodeError as error:
        raise InvalidTensor(f"the JSON is damaged: {str(error)[:80]}") from error
    except ValidationError as error:
        raise InvalidTensor(first_problem(error)[:200]) from error
    if len(request.inputs) != 1 or request.inputs[0].name != manifest.input.name:
        raise InvalidTensor(f"there is exactly one input, {manifest.input.name!r}")
    images = _pixels(request.inputs[0], rest, manifest.preprocess.size_px)
    return Question(request.id, images, _wanted(request, [tensor.name for tensor in manifest.outputs]))


def _pixels(tensor: InferInput, rest: memoryview, side_px: int) -> npt.NDArray[np.uint8]:
    if tensor.datatype != "UINT8":
        raise InvalidTensor(f"{tensor.name!r} has datatype {tensor.datatype[:20]!r} instead of 'UINT8'")
    shape = tensor.shape
    if len(shape) != 4 or shape[0] < 1 or shape[1:] != [side_px, side_px, 3]:
        raise InvalidTensor(
            f"{tensor.name!r} has shape {shape[:8]} instead of [N, {side_px}, {side_px}, 3] with N from 1"
        )
    count = shape[0] * side_px * side_px * 3
    binary_bytes = tensor.parameters.get("binary_data_size")
    if binary_bytes is not None:
        if tensor.data is not None:
            raise InvalidTensor(f"{tensor.name!r} has both data and binary_data_size")
        if type(binary_bytes) is not int or binary_bytes != count:
            raise InvalidTensor(f"binary_data_size of {tensor.name!r} is {binary_bytes!r} instead of {count}")
        if len(rest) != binary_bytes:
            raise InvalidTensor(f"{len(rest)} bytes follow the JSON instead of {binary_bytes}")
        return np.frombuffer(rest, np.uint8).reshape(shape)
    if rest:
        raise InvalidTensor(f"{len(rest)} bytes follow the JSON and no input has a binary_data_size")
    if tensor.data is None:
        raise InvalidTensor(f"{tensor.name!r} has no data")
    return _from_numbers(tensor.data, count).reshape(shape)


def _from_numbers(data: list[Any], count: int) -> npt.NDArray[np.uint8]:
    """Return nested or flat lists as `count` pixels values."""
    try:
        # Of objects: an array of text would have for every element as many bytes as the longest one needs.
        values = np.array(data, dtype=object)
    except ValueError as error:
        raise InvalidTensor("data is not a regular array of numbers") from error
    if values.size != count:
        raise InvalidTensor(f"data has {values.size} values instead of {count}")
    flat = values.ravel().tolist()
    if set(map(type, flat)) != {int} or min(flat) < 0 or max(flat) > 255:
        raise InvalidTensor("data has values that are not whole numbers from 0 to 255")
    return np.array(flat, dtype=np.uint8)


def _wanted(request: InferRequest, names: Sequence[str]) -> list[Wanted]:
    all_binary = request.parameters.get("binary_data_output") is True
    if not request.outputs:
        return [Wanted(name, all_binary) for name in names]
    asked: set[str] = set()
    for output in request.outputs:
        if output.name not in names:
            raise UnknownOutput(output.name, names)
        if output.name in asked:
            raise InvalidTensor(f"the output {output.name!r} is asked for twice")
        asked.add(output.name)
        if output.parameters.get("classification"):
            raise InvalidTensor("the classification extension is not offered; POST /predict ranks classes")
    return [Wanted(output.name, output.parameters.get("binary_data", all_binary) is True) for output in request.outputs]


def write_answer(
    model: str, version: str, question: Question, outputs: Sequence[npt.NDArray[np.float32]]
) -> tuple[bytes, int | None]:
    """Return the body, and how many of its bytes are JSON where tensors follow in binary."""
    described: list[dict[str, Any]] = []
    binary: list[bytes] = []
    for wanted, values in zip(question.outputs, outputs, strict=True):
        tensor: dict[str, Any] = {"name": wanted.name, "datatype": "FP32", "shape": list(values.shape)}
        if wanted.is_binary:
            binary.append(values.astype("<f4").tobytes())
            tensor["parameters"] = {"binary_data_size": values.nbytes}
        else:
            tensor["data"] = np.ascontiguousarray(values).ravel()
        described.append(tensor)
    answer: dict[str, Any] = {"model_name": model, "model_version": version, "outputs": described}
    if question.request_id is not None:
        answer["id"] = question.request_id
    text = orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
    return (b"".join([text, *binary]), len(text)) if binary else (text, None)
