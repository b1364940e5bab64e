"""From a run to a bundle: write the network, prove it, measure it, and only then publish it."""

from __future__ import annotations

import platform
import re
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version as installed_version
from pathlib import Path

import numpy as np
import torch

from export.errors import InvalidModelName
from export.finish import Finished, finish_variant
from export.gates import (
    DEFAULT_MAX_LOSS_POINTS,
    check_accuracy,
    check_batches,
    check_parity,
    check_range,
    parity_gate,
)
from export.graph import trace
from export.half import halve
from export.material import Material, decode_material
from export.quantise import largest_activation
from export.search import Search
from export.self_test import make_self_test
from linnet import bundle
from linnet.errors import BundleExists
from linnet.manifest import MODEL_NAME_PATTERN, Gate, Manifest, Parity, Provenance, Tensor
from linnet.session import Network
from trainer.data import Dataset
from trainer.network import Classifier
from trainer.progress import Reporter
from trainer.run import RunRecord, dataset_of, load_network, read_run

LIBRARIES = ("onnx", "onnxruntime", "onnxscript")


@dataclass(frozen=True)
class Plan:
    """What to export besides fp32, and how much accuracy it may cost."""

    int8: bool = False
    fp16: bool = False
    max_loss_points: float = DEFAULT_MAX_LOSS_POINTS


@dataclass(frozen=True)
class _Candidate:
    """What is to become a bundle."""

    name: str
    version: int
    record: RunRecord
    network: Classifier
    dataset: Dataset


@dataclass(frozen=True)
class _Proven:
    """Variants that passed their gates."""

    variants: tuple[Finished, ...]
    parity: Parity
    gates: tuple[Gate, ...]


def export_run(  # noqa: PLR0913
    run: Path,
    models_dir: Path,
    *,
    name: str | None = None,
    version: int | None = None,
    plan: Plan | None = None,
    cache: Path | None = None,
) -> Path:
    """Export a finished run as `models_dir/<name>/<version>/` and return that directory; progress goes to stderr.

    `name` is the run's and `version` the next free one unless told. The whole test split is answered by the very files
    that are published; nothing is written unless every gate holds. Decoded images are kept in the folder `cache`, if
    one is named; there the training has left them. Raises `ParityFailed`, `AccuracyLost`, `BatchesDisagree`,
    `TooLargeForFp16`, `RunNotFound`, `InvalidRun`, `DataChanged`, `BundleExists`, `DiskFull`, or a `DataError`.
    """
    candidate = _candidate(run, models_dir, name, version)
    with Reporter() as reporter, tempfile.TemporaryDirectory() as scratch:
        material = decode_material(
            candidate.dataset, candidate.record.preprocess, candidate.record.seed, cache, reporter
        )
        proven = _prove(candidate, material, plan or Plan(), Path(scratch), reporter)
        files = {finished.variant.file: finished.path for finished in proven.variants}
        return bundle.write_bundle(models_dir, _manifest(candidate, proven), files)


def _candidate(run: Path, models_dir: Path, name: str | None, version: int | None) -> _Candidate:
    """Check everything that can be checked before the work begins."""
    record = read_run(run)
    name = name or record.name
    if not re.fullmatch(MODEL_NAME_PATTERN, name):
        raise InvalidModelName(name)
    version = version or bundle.next_version(models_dir, name)
    if (models_dir / name / str(version)).exists():
        raise BundleExists(models_dir / name / str(version))
    dataset = dataset_of(record)
    return _Candidate(name, version, record, load_network(run, record), dataset)


def _prove(candidate: _Candidate, material: Material, plan: Plan, directory: Path, reporter: Reporter) -> _Proven:
    """Write every variant, run every gate, measure every file."""
    record = candidate.record
    reporter.say(f"write {record.backbone} as ONNX")
    core = trace(candidate.network, record.preprocess.size_px)
    fp32 = finish_variant("fp32", core, material, directory, seed=record.seed)
    parity = check_parity(candidate.network, fp32.variant.calibration, fp32.network, material.test, fp32.test)
    reporter.say(f"parity: largest difference {parity.max_probability_difference:.1e} over {parity.n} images")
    variants, gates = [fp32], [parity_gate(parity), *check_batches("fp32", fp32.network, material.val)]
    if plan.int8:
        search = Search(core, material, fp32.validation.logits, plan.max_loss_points, reporter)
        quantised = search.run()
        variants.append(
            finish_variant("int8", quantised.core, material, directory, seed=record.seed, quantisation=quantised.record)
        )
    if plan.fp16:
        gates.append(check_range(largest_activation(core, material.val.numpy())))
        variants.append(finish_variant("fp16", halve(core), material, directory, seed=record.seed))
    for smaller in variants[1:]:
        gates += _check_smaller(smaller, fp32, material, plan.max_loss_points)
    for finished in variants:
        reporter.say(_summary(finished))
    return _Proven(tuple(variants), parity, tuple(gates))


def _check_smaller(smaller: Finished, fp32: Finished, material: Material, max_points: float) -> list[Gate]:
    """Run the gates of a variant of lower precision."""
    precision, labels = smaller.variant.precision, material.val_labels
    correct = [int((one.validation.probabilities.argmax(1) == labels).sum()) for one in (fp32, smaller)]
    accuracy = check_accuracy(precision, correct[0], correct[1], len(labels), max_points)
    return [accuracy, *check_batches(precision, smaller.network, material.val)]


def _summary(finished: Finished) -> str:
    variant, calibration = finished.variant, finished.variant.calibration
    metrics, error, abstain = variant.metrics, calibration.error, variant.abstain
    assert error is not None and abstain is not None  # `finish_variant` measures both
    return (
        f"{variant.precision}: test accuracy of the file {metrics.accuracy:.4f} ({metrics.correct} of {metrics.n}), "
        f"{variant.size_bytes / 1e6:.1f} MB, temperature {calibration.temperature:.2f}, "
        f"slope {calibration.slope:.3f} (calibration error "
        f"{error.before:.2%} before, {error.after:.2%} after), {abstain.flagged:.1%} uncertain by {abstain.score}"
    )


def _manifest(candidate: _Candidate, proven: _Proven) -> Manifest:
    record = candidate.record
    size_px = record.preprocess.size_px
    networks = {finished.variant.precision: finished.network for finished in proven.variants}
    return Manifest(
        name=candidate.name,
        version=candidate.version,
        variants=tuple(finished.variant for finished in proven.variants),
        input=Tensor(name="image", dtype="uint8", shape=(-1, size_px, size_px, 3)),
        outputs=_outputs(proven.variants[0].network, size_px),
        classes=record.classes,
        preprocess=record.preprocess,
        parity=proven.parity,
        gates=proven.gates,
        self_test=make_self_test(candidate.dataset.test, record.preprocess, networks),
        provenance=_provenance(record),
        licence=_licence(record),
    )


def _outputs(network: Network, size_px: int) -> tuple[Tensor, ...]:
    """Describe the outputs of the graph by what it answers to one image."""
    answer = network(np.zeros((1, size_px, size_px, 3), np.uint8))
    arrays = {name: getattr(answer, name) for name in ("probabilities", "logits", "embedding", "uncertainty", "cam")}
    return tuple(
        Tensor(name=name, dtype="float32", shape=(-1, *array.shape[1:]))
        for name, array in arrays.items()
        if array is not None
    )


def _provenance(record: RunRecord) -> Provenance:
    recipe = record.recipe
    libraries = {name: installed_version(name) for name in LIBRARIES}
    return Provenance(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        backbone=record.backbone,
        weights=Path(recipe.network.weights).name,
        data=f"{recipe.data.description or recipe.data.path.name}; {record.data_origin}",
        recipe=recipe.model_dump(mode="json"),
        seed=record.seed,
        run_seconds=record.seconds,
        device=record.device,
        git_revision=record.git_revision,
        libraries={**record.libraries, **libraries, "exported on": f"{platform.machine()}, torch {torch.__version__}"},
    )


def _licence(record: RunRecord) -> str:
    parts = {"weights": record.recipe.network.weights_licence, "data": record.recipe.data.licence}
    return "; ".join(f"{what}: {text or 'not stated'}" for what, text in parts.items())
