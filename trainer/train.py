"""From a recipe to a run."""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import ValidationError
from rich.console import Console

from linnet.preprocess import PreprocessSpec
from trainer import distributed
from trainer.checkpoint import RESUME_FILE, Checkpoint, is_staging, load_checkpoint, save_checkpoint
from trainer.data import Dataset, Example, find_dataset
from trainer.disk import check_space
from trainer.errors import FolderTaken, NothingToResume, ResumeMismatch, RunExists
from trainer.evaluation import write_evaluation
from trainer.final_evaluation import evaluate_splits
from trainer.gpu_memory import room_for, told_when_full
from trainer.history import write_history
from trainer.image_cache import decode_cached
from trainer.images import labels_of
from trainer.input_check import check_sizes
from trainer.inputs import Split, Surroundings
from trainer.learner import Learner, batch_size
from trainer.memory import keep_freed_blocks
from trainer.network import Classifier, build_classifier, chosen_device
from trainer.phase import Watch, run_phase
from trainer.progress import Reporter
from trainer.provenance import device_name, git_revision, library_versions
from trainer.recipe import Recipe
from trainer.run import RunRecord, SplitMetrics, headline, is_finished, write_run
from trainer.run_lock import sole_writer
from trainer.tracking import Tracker, open_dashboards

SplitName = Literal["train", "val", "test"]


@told_when_full()
def train(recipe: Recipe, directory: Path, *, resume: bool = False, cache: Path | None = None) -> RunRecord:
    """Carry out a recipe, write the run into `directory` and return its record; progress goes to stderr.

    Everything that can be wrong with recipe, data and weights is found before the directory is made. A run that was
    killed continues after its last whole epoch with `resume=True` and ends, on the CPU, with the same weights. Decoded
    images are kept in the folder `cache`, if one is named. Several processes that `torchrun` started train together.
    Raises `RunExists`, `RunInUse`, `FolderTaken`, `NothingToResume`, `ResumeMismatch`, a `DataError`,
    `WeightsNotFound`, `WeightsMismatch`, `InputRefused`, `DiskFull`, `BatchTooSmall`, `MlflowMissing`,
    `MlflowUnreachable`, `GpuFull` or `NonFiniteLoss`.
    """
    keep_freed_blocks()
    with distributed.joined(), sole_writer(directory) if distributed.leads() else nullcontext():
        state = distributed.from_leader(lambda: _previous_state(directory) if resume else _check_free(directory))
        with distributed.one_per_host_first():
            dataset = find_dataset(recipe.data, recipe.seed)
        dataset.refuse_duplicates()
        for phase in recipe.phase:
            batch_size(phase, len(dataset.train))
        resolved = recipe.model_dump(mode="json")
        if state is None:
            state = Checkpoint(resolved, dataset.fingerprint)
        if not _is_of(state, resolved):
            raise ResumeMismatch(directory, "The recipe")
        state.recipe = resolved
        if state.data != dataset.fingerprint:
            raise ResumeMismatch(directory, "The data")
        network = _network(recipe, dataset, state)
        check_space(directory, _largest_run_bytes(network), "free some, or choose another folder with --run DIR")
        with Reporter(None if distributed.leads() else Console(file=StringIO())) as reporter:
            reporter.say(_introduction(recipe, dataset, network))
            dashboards = open_dashboards(recipe, directory, reporter.say) if distributed.leads() else []
            with Tracker(dashboards, told=len(state.history)) as tracker:
                listeners = _Listeners(reporter, tracker)
                return _Trainer(recipe, dataset, _Places(directory, cache), state, listeners).run(network)


@dataclass(frozen=True)
class _Places:
    """Where things are written."""

    run: Path
    cache: Path | None


@dataclass(frozen=True)
class _Listeners:
    """Who is told how it goes: the person at the terminal, and dashboards."""

    reporter: Reporter
    tracker: Tracker


class _Trainer:
    """Carries a network through the phases of a recipe that are still to do."""

    def __init__(
        self, recipe: Recipe, dataset: Dataset, places: _Places, state: Checkpoint, listeners: _Listeners
    ) -> None:
        self._recipe = recipe
        self._dataset = dataset
        self._directory = places.run
        self._cache = places.cache
        self._state = state
        self._reporter = listeners.reporter
        self._tracker = listeners.tracker
        self._seconds_before = state.seconds
        self._started = time.perf_counter()
        self._git_revision = git_revision()  # of what was imported; the tree may have moved on at the end

    def run(self, network: Classifier) -> RunRecord:
        """Decode, train, evaluate, and write the run."""
        spec = self._recipe.preprocess
        splits: dict[SplitName, Split] = {name: self._decode(name, spec) for name in ("train", "val", "test")}
        if distributed.leads():
            self._directory.mkdir(parents=True, exist_ok=True)
        self._started = time.perf_counter()
        for index in range(self._state.phase, len(self._recipe.phase)):
            self._run_phase(network, index, splits)
        evaluated = evaluate_splits(
            network,
            {"val": splits["val"], "test": splits["test"]},
            self._dataset.classes,
            flip=self._recipe.evaluate.flip,
        )
        record = self._record(network, headline(evaluated.evaluation))
        if distributed.leads():
            write_evaluation(self._directory, evaluated)
            write_run(self._directory, record, network)
        self._tracker.tell_evaluation(evaluated.evaluation)
        test = record.metrics["test"]
        self._reporter.say(f"test accuracy {test.accuracy:.4f} ({test.correct} of {test.n}), run in {self._directory}")
        return record

    def _run_phase(self, network: Classifier, index: int, splits: dict[SplitName, Split]) -> None:
        phase, state = self._recipe.phase[index], self._state
        train_split, val_split = splits["train"], splits["val"]
        if phase.size_px is not None and phase.size_px != self._recipe.preprocess.size_px:
            spec = self._recipe.preprocess.model_copy(update={"size_px": phase.size_px})
            train_split, val_split = self._decode("train", spec), self._decode("val", spec)
        learner = Learner(network, phase, train_split, val_split, Surroundings(self._recipe.compute, self._reporter))
        run_phase(learner, phase, self._recipe.seed, state, Watch(self._save, self._reporter))
        state.phase, state.epoch, state.optimizer, state.average = index + 1, 0, {}, {}
        state.network = network.state_dict()
        self._save(state)

    def _decode(self, name: SplitName, spec: PreprocessSpec) -> Split:
        examples: tuple[Example, ...] = getattr(self._dataset, name)
        self._reporter.start(f"decode {name} at {spec.size_px} px", len(examples))
        with distributed.one_per_host_first():
            digests = [self._dataset.digests[example.path] for example in examples]
            images = decode_cached(examples, digests, spec, self._cache, self._reporter.advance)
        return Split(_on_the_device(images), labels_of(examples))

    def _save(self, state: Checkpoint) -> None:
        state.seconds = self._seconds_before + time.perf_counter() - self._started
        if distributed.leads():
            save_checkpoint(self._directory, state)
            write_history(self._directory, state.history)
            self._tracker.tell_epochs(state.history)

    def _record(self, network: Classifier, metrics: dict[Literal["val", "test"], SplitMetrics]) -> RunRecord:
        dataset, recipe = self._dataset, self._recipe
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
            seconds=round(self._state.seconds, 1),
            device=device_name(network),
            git_revision=self._git_revision,
            libraries=library_versions(),
        )


def is_resumable(directory: Path) -> bool:
    """Tell whether the directory has a checkpoint to continue from."""
    return (directory / RESUME_FILE).is_file()


def _check_free(directory: Path) -> None:
    """Raise unless the directory can take a new run."""
    if is_finished(directory):
        raise RunExists(directory, complete=True)
    if is_resumable(directory):
        raise RunExists(directory, complete=False)
    if directory.exists() and (not directory.is_dir() or any(not is_staging(path) for path in directory.iterdir())):
        raise FolderTaken(directory)


def _previous_state(directory: Path) -> Checkpoint:
    if is_finished(directory):
        raise RunExists(directory, complete=True)
    if not is_resumable(directory):
        raise NothingToResume(directory)
    return load_checkpoint(directory)


def _is_of(state: Checkpoint, resolved: dict[str, Any]) -> bool:
    """Tell whether the state is of this recipe; one that an older version wrote has the defaults of newer keys.

    Who is told, how it is computed and where the images lie may change: what they are has a fingerprint of its own.
    """
    try:
        before = Recipe.model_validate(state.recipe).model_dump(mode="json")
    except ValidationError:
        return False
    return _what_decides(before) == _what_decides(resolved)


def _what_decides(recipe: dict[str, Any]) -> dict[str, Any]:
    data = {key: value for key, value in recipe["data"].items() if key != "path"}
    return {key: value for key, value in recipe.items() if key not in ("tracking", "compute")} | {"data": data}


def _network(recipe: Recipe, dataset: Dataset, state: Checkpoint) -> Classifier:
    """Build the network where it will run, with the weights of the checkpoint if there are any."""
    torch.manual_seed(recipe.seed)
    network = build_classifier(recipe.network, len(dataset.classes), recipe.preprocess, pretrained=not state.network)
    check_sizes(network, recipe)
    if state.network:
        network.load_state_dict(state.network)
    distributed.synchronise_norms(network)
    return network.to(chosen_device())


def _on_the_device(images: torch.Tensor) -> torch.Tensor:
    """Move images to the device where they take no more than half of its free memory."""
    device = torch.device(chosen_device())
    return images.to(device) if room_for(images.nbytes, device) else images


def _largest_run_bytes(network: Classifier) -> int:
    """Return what a run can need on the disk: two checkpoints, while one replaces the other, and the weights.

    A checkpoint has the weights up to five times: now, best, averaged, and two moments of the optimizer.
    """
    weights: int = sum(tensor.nbytes for tensor in network.state_dict().values())
    return (2 * 5 + 1) * weights


def _introduction(recipe: Recipe, dataset: Dataset, network: Classifier) -> str:
    sizes = f"{len(dataset.train)} training, {len(dataset.val)} validation and {len(dataset.test)} test images"
    return (
        f"{recipe.name}: {recipe.network.backbone} from {recipe.network.weights} on {len(dataset.classes)} classes, "
        f"{sizes} ({dataset.origin}), {device_name(network)}"
    )
