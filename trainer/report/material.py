"""Gather what a report is made from, as far as it is still there; what is not leaves a sentence that says so."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from linnet.errors import LinnetError
from trainer.data import Dataset, Example
from trainer.evaluation import Evaluated, EvaluatedSplit, has_evaluation, read_evaluation, write_evaluation
from trainer.final_evaluation import evaluate_splits
from trainer.history import Epoch, read_history
from trainer.images import decode, labels_of
from trainer.inputs import Split
from trainer.network import Classifier, build_classifier
from trainer.progress import Reporter
from trainer.run import RunRecord, dataset_of, load_network, read_run


@dataclass(frozen=True)
class Absent:
    """Something that is no longer there, and the sentence that says why."""

    reason: str


@dataclass(frozen=True)
class Material:
    """A finished run and what belongs to it."""

    directory: Path
    record: RunRecord
    history: list[Epoch]
    network: Classifier
    dataset: Dataset | Absent
    evaluated: Evaluated | Absent

    def untrained_network(self) -> Classifier | Absent:
        """Build the network as it was before its training, from the same weights or the same seed."""
        torch.manual_seed(self.record.seed)
        try:
            network = build_classifier(self.record.recipe.network, len(self.record.classes), self.record.preprocess)
        except LinnetError as error:
            return Absent(f"The network as it was before cannot be built. {error}")
        return network.eval()


def gather(directory: Path, reporter: Reporter) -> Material:
    """Read a finished run. Where it has no evaluation yet, the splits are evaluated now, as training does at its end.

    Raises `RunNotFound` or `InvalidRun`.
    """
    record = read_run(directory)
    network, dataset = load_network(directory, record), _dataset(record)
    return Material(
        directory,
        record,
        read_history(directory),
        network,
        dataset,
        _evaluated(directory, record, network, dataset, reporter),
    )


def _dataset(record: RunRecord) -> Dataset | Absent:
    """Return the images of the run if they are where they were, and the same ones."""
    try:
        return dataset_of(record)
    except LinnetError as error:
        return Absent(f"The images of this run are no longer there. {error}")


def _evaluated(
    directory: Path, record: RunRecord, network: Classifier, dataset: Dataset | Absent, reporter: Reporter
) -> Evaluated | Absent:
    if has_evaluation(directory):
        return read_evaluation(directory)
    if isinstance(dataset, Absent):
        return Absent(f"This run has no evaluation.json, and none can be made now. {dataset.reason}")
    splits: dict[EvaluatedSplit, Split] = {}
    found: dict[EvaluatedSplit, tuple[Example, ...]] = {"val": dataset.val, "test": dataset.test}
    for name, examples in found.items():
        reporter.start(f"decode {name}", len(examples))
        splits[name] = Split(decode(examples, record.preprocess, reporter.advance), labels_of(examples))
    reporter.say("evaluate the validation and test splits: this run has no evaluation.json yet")
    evaluated = evaluate_splits(network, splits, record.classes, flip=record.recipe.evaluate.flip)
    write_evaluation(directory, evaluated)
    return evaluated
