"""Every error is one sentence that ends with what to do."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import linnet
from linnet.errors import LinnetError

ROOMS = ("linnet", "service", "trainer", "export")

# Arguments by annotation (annotations are text: `from __future__ import annotations`). A reason is passed as text.
TEXT = "some text here"
SAMPLES: dict[str, Any] = {
    "str": TEXT,
    "str | None": TEXT,
    "int": 3,
    "int | None": 3,
    "float": 0.25,
    "float | None": 0.25,
    "bool": True,
    "bytes": b"x",
    "Path": Path("folder/file"),
    "Path | None": Path("folder/file"),
    "Exception": ValueError("reason"),
    "BaseException": ValueError("reason"),
    "object": TEXT,
}


def error_classes() -> Iterator[type[LinnetError]]:
    """Walk the tree of errors over every room whose modules import without the training stack."""
    for room in ROOMS:
        package = importlib.import_module(room)
        for module in pkgutil.walk_packages(package.__path__, f"{room}."):
            if module.name.endswith("errors"):
                importlib.import_module(module.name)
    waiting: list[type[LinnetError]] = [LinnetError]
    while waiting:
        error = waiting.pop()
        waiting += error.__subclasses__()
        if "__init__" in vars(error) and error.__module__.split(".")[0] in ROOMS:
            yield error


def sample(annotation: str) -> Any:
    """Return an argument of that annotated type."""
    if annotation in SAMPLES:
        return SAMPLES[annotation]
    if annotation.startswith(("Sequence[", "Iterable[", "Collection[", "list[", "tuple[")):
        inner = annotation.split("[", 1)[1].removesuffix("]").split(",")[0]
        return (sample(inner), sample(inner))
    raise AssertionError(f"tests/linnet/test_errors.py has no sample for {annotation!r}")


def build(error: type[LinnetError]) -> LinnetError:
    parameters = list(inspect.signature(error.__init__).parameters.values())[1:]
    positional = [sample(str(p.annotation)) for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    named = {p.name: sample(str(p.annotation)) for p in parameters if p.kind is p.KEYWORD_ONLY}
    return error(*positional, **named)


ERRORS = [pytest.param(error, id=error.__name__) for error in error_classes()]


@pytest.mark.parametrize("error", ERRORS)
def test_every_error_is_one_sentence_that_says_what_to_do(error: type[LinnetError]) -> None:
    sentence = str(build(error))
    assert "\n" not in sentence
    assert sentence[0].isupper() or sentence.startswith((TEXT, str(SAMPLES["Path"]), "`", "2 "))
    assert sentence.endswith((".", "?", TEXT))
    assert not sentence.endswith("..")
    happened, _, advice = sentence.replace("; ", ": ").rpartition(": ")
    assert happened, f"no advice after a colon: {sentence}"
    assert len(advice.split()) >= 2, f"no advice after a colon: {sentence}"


@pytest.mark.parametrize("error", ERRORS)
def test_every_error_says_what_it_is_for(error: type[LinnetError]) -> None:
    assert error.__doc__, error


def test_the_walk_finds_the_errors() -> None:
    found = {error.__name__ for error in error_classes()}
    assert {"UnreadableImage", "CorruptBundle", "ProviderUnavailable", "MissingExtra"} <= found


def test_the_core_imports_without_training_stack_and_web_framework() -> None:
    modules = ("errors", "cpu", "preprocess", "bundle", "session")
    script = f"import sys, {', '.join(f'linnet.{name}' for name in modules)}; print(*sys.modules)"
    answer = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, cwd=Path(linnet.__file__).parents[1]
    )
    forbidden = {"torch", "torchvision", "onnx", "onnxruntime", "fastapi", "starlette", "uvicorn", "trainer", "export"}
    assert not forbidden & set(answer.stdout.split())
