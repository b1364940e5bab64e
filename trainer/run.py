"""The run: a directory that holds everything learnt from one recipe. The trainer writes it; export and report read it.

    weights.safetensors  run.json  evaluation.json  predictions.npz  history.csv  resume.pt
    report.md  report.html  plots/      what `linnet report` makes of them

`run.json` is written last: a directory without it is an unfinished run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from linnet.bundle import first_problem, to_json
from linnet.errors import first_line
from linnet.preprocess import PreprocessSpec
from trainer.data import Dataset, find_dataset
from trainer.disk import replace_file
from trainer.errors import DataChanged, InvalidRun, RunNotFound
from trainer.evaluation import Evaluation, SplitEvaluation
from trainer.network import Classifier, build_classifier
from trainer.recipe import Recipe

RUN_FILE = "run.json"
WEIGHTS_FILE = "weights.safetensors"


class SplitMetrics(BaseModel):
    """What the network scored on one split, in PyTorch."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    n: int = Field(ge=1)
    correct: int = Field(ge=0)
    accuracy: float = Field(ge=0.0, le=1.0)
    loss: float = Field(ge=0.0)


class RunRecord(BaseModel):
    """All that is known of a finished run; `run.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = 1
    name: str
    backbone: str
    head: str = Field(description="the layers after the pooled embedding")
    classes: tuple[str, ...]
    preprocess: PreprocessSpec
    metrics: dict[Literal["val", "test"], SplitMetrics]
    recipe: Recipe = Field(description="resolved: nothing left implicit")
    data_origin: str = Field(description="where each split came from")
    data_fingerprint: str
    split_sizes: dict[Literal["train", "val", "test"], int]
    seed: int
    seconds: float = Field(description="of training and validation, over all sessions of the run")
    device: str
    git_revision: str | None
    libraries: dict[str, str]


def headline(evaluation: Evaluation) -> dict[Literal["val", "test"], SplitMetrics]:
    """Return the few numbers of an evaluation that stand in `run.json`."""
    splits: dict[Literal["val", "test"], SplitEvaluation] = {"val": evaluation.val, "test": evaluation.test}
    return {
        name: SplitMetrics(n=split.n, correct=split.correct, accuracy=split.accuracy, loss=split.loss)
        for name, split in splits.items()
    }


def write_run(directory: Path, record: RunRecord, network: Classifier) -> None:
    """Write the weights and then `run.json`, each in one step. Raises `DiskFull`."""
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    replace_file(directory / WEIGHTS_FILE, save(weights))
    replace_file(directory / RUN_FILE, to_json(record).encode())


def is_finished(directory: Path) -> bool:
    """Tell whether the directory holds a finished run."""
    return (directory / RUN_FILE).is_file()


def read_run(directory: Path) -> RunRecord:
    """Read `run.json`. Raises `RunNotFound` or `InvalidRun`."""
    path = directory / RUN_FILE
    try:
        return RunRecord.model_validate_json(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise RunNotFound(directory) from error
    except UnicodeDecodeError as error:
        raise InvalidRun(path, first_line(error)) from error
    except ValidationError as error:
        raise InvalidRun(path, first_problem(error)) from error


def load_network(directory: Path, record: RunRecord) -> Classifier:
    """Rebuild the trained network, on the CPU, in evaluation mode. Raises `InvalidRun`."""
    network = build_classifier(record.recipe.network, len(record.classes), record.preprocess, pretrained=False)
    path = directory / WEIGHTS_FILE
    try:
        network.load_state_dict(load_file(path), strict=True)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise InvalidRun(path, first_line(error)) from error
    return network.eval()


def dataset_of(record: RunRecord) -> Dataset:
    """Find the images of a run; raises `DataChanged` where they are not those it was tested on, or a `DataError`."""
    dataset = find_dataset(record.recipe.data, record.seed)
    if dataset.fingerprint != record.data_fingerprint:
        raise DataChanged(record.recipe.data.path)
    return dataset
