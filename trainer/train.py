"""From a recipe to a run."""

from __future__ import annotations

import platform
import shutil
import subprocess
import time
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import torch

from linnet.preprocess import PreprocessSpec
from trainer.checkpoint import RESUME_FILE, Checkpoint, load_checkpoint, save_checkpoint
from trainer.data import Dataset, Example, find_dataset
from trainer.errors import InvalidRecipe, NothingToResume, ResumeMismatch, RunExists
from trainer.evaluate import evaluate
from trainer.history import write_history
from trainer.images import decode, labels_of
from trainer.network import BACKBONES, Classifier, build_classifier
from trainer.phase import Split, run_phase
from trainer.plots import plot_curves
from trainer.progress import Reporter
from trainer.recipe import Recipe
from trainer.run import RunRecord, SplitMetrics, device_name, is_finished, write_run

LIBRARIES = ("torch", "torchvision", "numpy", "pillow", "safetensors")


def train(recipe: Recipe, directory: Path, *, resume: bool = False, reporter: Reporter | None = None) -> RunRecord:
    """Carry out a recipe and write the run into `directory`; return its record.

    Everything that can be wrong with recipe, data and weights is found before the directory is made. A run that was
    killed continues after its last whole epoch with `resume=True` and ends, on the CPU, with the same weights.
    Raises `RunExists`, `NothingToResume`, `ResumeMismatch`, a `DataError` or `WeightsNotFound` and the like.
    """
    with reporter or Reporter() as reporter:
        state = _previous_state(directory, resume)
        dataset = find_dataset(recipe.data, recipe.seed)
        resolved = recipe.model_dump(mode="json")
        _check_same(directory, state, resolved, dataset)
        state = state or Checkpoint(resolved, dataset.fingerprint)
        network, device = _network(recipe, dataset, state)
        reporter.say(_introduction(recipe, dataset, device))
        splits = {name: _decoded(name, dataset, recipe.preprocess, reporter) for name in ("train", "val", "test")}
        directory.mkdir(parents=True, exist_ok=True)
        _run_phases(network, recipe, dataset, splits, directory, state, reporter)
        metrics: dict[Literal["val", "test"], SplitMetrics] = {
            "val": _measure(network, splits["val"]),
            "test": _measure(network, splits["test"]),  # the only time the test split is looked at
        }
        record = _record(recipe, dataset, metrics, state.seconds, device, network)
        plot_curves(state.history, directory / "plots" / "curves.png")
        write_run(directory, record, network)
        test = metrics["test"]
        reporter.say(f"test accuracy {test.accuracy:.4f} ({test.correct} of {test.n}), run in {directory}")
    return record


def _previous_state(directory: Path, resume: bool) -> Checkpoint | None:
    has_checkpoint = (directory / RESUME_FILE).is_file()
    if is_finished(directory):
        raise RunExists(directory, complete=True)
    if resume:
        if not has_checkpoint:
            raise NothingToResume(directory)
        return load_checkpoint(directory)
    if has_checkpoint or (directory.exists() and any(directory.iterdir())):
        raise RunExists(directory, complete=False)
    return None


def _check_same(directory: Path, state: Checkpoint | None, resolved: dict[str, object], dataset: Dataset) -> None:
    if state is not None and state.recipe != resolved:
        raise ResumeMismatch(directory, "The recipe")
    if state is not None and state.data != dataset.fingerprint:
        raise ResumeMismatch(directory, "The data")


def _network(recipe: Recipe, dataset: Dataset, state: Checkpoint) -> tuple[Classifier, torch.device]:
    if recipe.network.backbone not in BACKBONES:
        raise InvalidRecipe(Path(recipe.name), f"network.backbone must be one of {', '.join(BACKBONES)}")
    torch.manual_seed(recipe.seed)
    spec = recipe.preprocess
    network = build_classifier(recipe.network, len(dataset.classes), spec.mean, spec.std)
    if state.network:
        network.load_state_dict(state.network)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return network.to(device), device


def _decoded(name: str, dataset: Dataset, spec: PreprocessSpec, reporter: Reporter) -> Split:
    examples: tuple[Example, ...] = getattr(dataset, name)
    reporter.start(f"decode {name} at {spec.size_px} px", len(examples))
    return Split(decode(examples, spec, reporter.advance), labels_of(examples))


def _run_phases(
    network: Classifier,
    recipe: Recipe,
    dataset: Dataset,
    splits: dict[str, Split],
    directory: Path,
    state: Checkpoint,
    reporter: Reporter,
) -> None:
    for index in range(state.phase, len(recipe.phase)):
        phase = recipe.phase[index]
        train_split, val_split = splits["train"], splits["val"]
        if phase.size_px is not None and phase.size_px != recipe.preprocess.size_px:
            spec = recipe.preprocess.model_copy(update={"size_px": phase.size_px})
            train_split, val_split = (_decoded(name, dataset, spec, reporter) for name in ("train", "val"))
        clock = _Clock(directory, state)
        run_phase(network, phase, recipe.seed, train_split, val_split, state, clock.save, reporter)
        state.phase, state.epoch, state.optimizer, state.average = index + 1, 0, {}, {}
        state.network = network.state_dict()
        clock.save(state)


class _Clock:
    """Saves the state after adding the time since the last save."""

    def __init__(self, directory: Path, state: Checkpoint) -> None:
        self._directory = directory
        self._before, self._started = state.seconds, time.perf_counter()

    def save(self, state: Checkpoint) -> None:
        state.seconds = self._before + time.perf_counter() - self._started
        save_checkpoint(self._directory, state)
        write_history(self._directory, state.history)


def _measure(network: Classifier, split: Split) -> SplitMetrics:
    score = evaluate(network, split.images, split.labels)
    return SplitMetrics(**asdict(score), accuracy=score.accuracy)


def _introduction(recipe: Recipe, dataset: Dataset, device: torch.device) -> str:
    sizes = f"{len(dataset.train)} training, {len(dataset.val)} validation and {len(dataset.test)} test images"
    return (
        f"{recipe.name}: {recipe.network.backbone} from {recipe.network.weights} on {len(dataset.classes)} classes, "
        f"{sizes} ({dataset.origin}), {device_name(device)}"
    )


def _record(
    recipe: Recipe,
    dataset: Dataset,
    metrics: dict[Literal["val", "test"], SplitMetrics],
    seconds: float,
    device: torch.device,
    network: Classifier,
) -> RunRecord:
    libraries = {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}
    return RunRecord(
        name=recipe.name,
        backbone=recipe.network.backbone,
        head=", ".join(str(layer) for layer in network.head),
        classes=dataset.classes,
        preprocess=recipe.preprocess,
        metrics=metrics,
        recipe=recipe,
        data_origin=dataset.origin,
        data_fingerprint=dataset.fingerprint,
        split_sizes={"train": len(dataset.train), "val": len(dataset.val), "test": len(dataset.test)},
        seed=recipe.seed,
        seconds=round(seconds, 1),
        device=device_name(device),
        git_revision=git_revision(),
        libraries=libraries,
    )


def git_revision() -> str | None:
    """Return the commit of the code that runs, with '+changes' where files differ from it; None outside git."""
    git = shutil.which("git")
    if git is None:
        return None

    def ask(*arguments: str) -> str | None:
        here = Path(__file__).parent
        answer = subprocess.run([git, *arguments], cwd=here, capture_output=True, text=True, check=False)
        return answer.stdout.strip() if answer.returncode == 0 else None

    revision = ask("rev-parse", "HEAD")
    return f"{revision}+changes" if revision and ask("status", "--porcelain", "--untracked-files=no") else revision
