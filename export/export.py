"""From a run to a bundle: write the network, prove it, measure it, and only then publish it."""

from __future__ import annotations

import platform
import re
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version as installed_version
from pathlib import Path

import torch

from export.errors import DataChanged, InvalidModelName
from export.graph import write_onnx
from export.parity import check_parity, measure, run_in_batches
from export.self_test import make_self_test
from linnet import bundle
from linnet.cpu import usable_cpus
from linnet.errors import BundleExists
from linnet.session import open_network
from trainer.data import Dataset, find_dataset
from trainer.images import decode, labels_of
from trainer.network import Classifier
from trainer.progress import Reporter
from trainer.run import RunRecord, load_network, read_run

MODEL_FILE = "model.onnx"
MEASURING_BATCH = 32
TEMPERATURE = 1.0  # probabilities are the softmax of the logits as trained

LIBRARIES = ("onnx", "onnxruntime", "onnxscript")


@dataclass(frozen=True)
class _Candidate:
    """What is to become a bundle."""

    name: str
    version: int
    record: RunRecord
    network: Classifier
    dataset: Dataset


def export_run(run: Path, models_dir: Path, *, name: str | None = None, version: int | None = None) -> Path:
    """Export a finished run as `models_dir/<name>/<version>/` and return that directory; progress goes to stderr.

    `name` is the run's and `version` the next free one unless told. The whole test split is answered by the very file
    that is published; nothing is written unless it agrees with the trained network. Raises `ParityFailed`,
    `RunNotFound`, `InvalidRun`, `DataChanged`, `BundleExists`, or a `DataError`.
    """
    candidate = _candidate(run, models_dir, name, version)
    with Reporter() as reporter, tempfile.TemporaryDirectory() as scratch:
        reporter.say(f"write {candidate.record.backbone} as ONNX")
        path = Path(scratch) / MODEL_FILE
        write_onnx(candidate.network, candidate.record.preprocess.size_px, TEMPERATURE, path)
        manifest = _prove(candidate, path, reporter)
        destination = bundle.write_bundle(models_dir, manifest, {MODEL_FILE: path})
        parity, metrics = manifest.parity, manifest.variants[0].metrics
        reporter.say(
            f"parity: largest difference {parity.max_probability_difference:.1e} over {parity.n} images; "
            f"test accuracy of the file {metrics.accuracy:.4f} ({metrics.correct} of {metrics.n})"
        )
    return destination


def _candidate(run: Path, models_dir: Path, name: str | None, version: int | None) -> _Candidate:
    """Check everything that can be checked before the work begins."""
    record = read_run(run)
    name = name or record.name
    if not re.fullmatch(bundle.MODEL_NAME_PATTERN, name):
        raise InvalidModelName(name)
    version = version or bundle.next_version(models_dir, name)
    if (models_dir / name / str(version)).exists():
        raise BundleExists(models_dir / name / str(version))
    dataset = find_dataset(record.recipe.data, record.seed)
    if dataset.fingerprint != record.data_fingerprint:
        raise DataChanged(record.recipe.data.path)
    return _Candidate(name, version, record, load_network(run, record), dataset)


def _prove(candidate: _Candidate, path: Path, reporter: Reporter) -> bundle.Manifest:
    """Run every gate and measurement on the file and return the manifest that states their results."""
    record, dataset = candidate.record, candidate.dataset
    reporter.start("decode test", len(dataset.test))
    images = decode(dataset.test, record.preprocess, reporter.advance)
    exported = open_network(path, provider="cpu", threads=usable_cpus())
    answers = run_in_batches(exported, images, MEASURING_BATCH)
    parity = check_parity(candidate.network, TEMPERATURE, exported, images, answers)
    class_count, embedding_size = len(record.classes), answers.embedding.shape[1]
    size_px = record.preprocess.size_px
    return bundle.Manifest(
        name=candidate.name,
        version=candidate.version,
        variants=(
            bundle.Variant(
                precision="fp32",
                file=MODEL_FILE,
                sha256=bundle.sha256_of(path),
                size_bytes=path.stat().st_size,
                metrics=measure(answers, labels_of(dataset.test)),
            ),
        ),
        input=bundle.Tensor(name="image", dtype="uint8", shape=(-1, size_px, size_px, 3)),
        outputs=(
            bundle.Tensor(name="probabilities", dtype="float32", shape=(-1, class_count)),
            bundle.Tensor(name="logits", dtype="float32", shape=(-1, class_count)),
            bundle.Tensor(name="embedding", dtype="float32", shape=(-1, embedding_size)),
        ),
        classes=record.classes,
        preprocess=record.preprocess,
        calibration=bundle.Calibration(temperature=TEMPERATURE),
        parity=parity,
        self_test=make_self_test(dataset.test, record.preprocess, {"fp32": exported}),
        provenance=_provenance(record),
        licence=_licence(record),
    )


def _provenance(record: RunRecord) -> bundle.Provenance:
    recipe = record.recipe
    libraries = {name: installed_version(name) for name in LIBRARIES}
    return bundle.Provenance(
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
