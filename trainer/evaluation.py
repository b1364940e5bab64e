"""What the final evaluation found, and the predictions it found it from, as files of the run.

    evaluation.json    every metric of the validation and test splits, and what the network costs
    predictions.npz    the logits and labels behind them, so that a report never has to run the network again

Both are written before `run.json`, so a finished run has them.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from linnet.bundle import first_problem, to_json
from trainer.disk import replace_file
from trainer.errors import InvalidRun

EVALUATION_FILE = "evaluation.json"
PREDICTIONS_FILE = "predictions.npz"

EvaluatedSplit = Literal["val", "test"]


class Part(BaseModel):
    """A part of `evaluation.json`: immutable, and any unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Average(Part):
    """Precision, recall and F1 over all classes."""

    precision: float = Field(ge=0.0, le=1.0)
    recall: float = Field(ge=0.0, le=1.0)
    f1: float = Field(ge=0.0, le=1.0)


class ClassScore(Average):
    """Precision, recall and F1 of one class."""

    name: str
    support: int = Field(ge=0, description="images of the class")


class SplitEvaluation(Part):
    """What the network made of one split, in PyTorch."""

    n: int = Field(ge=1)
    correct: int = Field(ge=0)
    accuracy: float = Field(ge=0.0, le=1.0, description="correct / n")
    accuracy_low: float = Field(ge=0.0, le=1.0, description="lower end of the 95 % Wilson score interval")
    accuracy_high: float = Field(ge=0.0, le=1.0, description="upper end of it")
    top5: float | None = Field(description="share of images whose label is among the five likeliest; of > 5 classes")
    loss: float = Field(ge=0.0, description="mean cross-entropy, nats")
    calibration_error: float = Field(ge=0.0, le=1.0, description="expected calibration error, 15 bins")
    macro: Average = Field(description="unweighted means over the classes")
    weighted: Average = Field(description="means over the classes, weighted by their images")
    per_class: tuple[ClassScore, ...]
    confusion: tuple[tuple[int, ...], ...] = Field(description="images by label (row) and prediction (column)")
    seconds: float = Field(gt=0.0, description="of the network's answers, images already decoded")
    images_per_s: float = Field(gt=0.0)


class Cost(Part):
    """What the network takes."""

    parameters: int = Field(ge=1)
    flops: int = Field(
        ge=0,
        description="of one image; multiply and add count apart, over convolutions and matrix products "
        "(torch.utils.flop_counter)",
    )


class Evaluation(Part):
    """The whole of `evaluation.json`; `test` is the headline, `test_flip` is apart and optional."""

    format_version: Literal[1] = 1
    val: SplitEvaluation
    test: SplitEvaluation
    test_flip: SplitEvaluation | None = Field(
        description="the test split, probabilities averaged over each image and its mirror image"
    )
    cost: Cost


@dataclass(frozen=True)
class Predictions:
    """The answers to a split, in the order of its images."""

    logits: npt.NDArray[np.float32]  # [N, K]
    labels: npt.NDArray[np.int64]  # [N]


@dataclass(frozen=True)
class Evaluated:
    """A final evaluation: the metrics and what they were computed from."""

    evaluation: Evaluation
    predictions: Mapping[EvaluatedSplit, Predictions]


def write_evaluation(directory: Path, evaluated: Evaluated) -> None:
    """Write both files, each in one step. Raises `DiskFull`."""
    arrays: dict[str, npt.NDArray[np.generic]] = {}
    for split, predictions in evaluated.predictions.items():
        arrays[f"{split}_logits"], arrays[f"{split}_labels"] = predictions.logits, predictions.labels
    content = BytesIO()
    np.savez_compressed(content, allow_pickle=False, **arrays)
    replace_file(directory / PREDICTIONS_FILE, content.getvalue())
    replace_file(directory / EVALUATION_FILE, to_json(evaluated.evaluation).encode())


def has_evaluation(directory: Path) -> bool:
    """Tell whether both files are there; a run from before there were evaluations has neither."""
    return (directory / EVALUATION_FILE).is_file() and (directory / PREDICTIONS_FILE).is_file()


def read_evaluation(directory: Path) -> Evaluated:
    """Read both files of a run. Raises `InvalidRun`."""
    path = directory / EVALUATION_FILE
    try:
        evaluation = Evaluation.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        raise InvalidRun(path, first_problem(error)) from error
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRun(path, str(error)) from error
    path = directory / PREDICTIONS_FILE
    try:
        with np.load(path, allow_pickle=False) as file:
            val = Predictions(file["val_logits"], file["val_labels"])
            test = Predictions(file["test_logits"], file["test_labels"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InvalidRun(path, str(error)) from error
    return Evaluated(evaluation, {"val": val, "test": test})
