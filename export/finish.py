"""From a graph of one precision to the file that is published, with everything measured on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch

from export.abstain import TRUE_POSITIVE_RATE, Rule, fit_rule
from export.calibration import calibration_error, fit_calibration
from export.errors import AnswersNotFinite
from export.foreign import foreign_images
from export.material import Material
from export.measure import measure, run_in_batches
from export.tail import AS_TRAINED, with_answers
from linnet.bundle import file_name, sha256_of
from linnet.cpu import usable_cpus
from linnet.manifest import Abstain, Precision, Quantisation, Variant
from linnet.session import Network, Outputs, Placement, open_network

FOREIGN_IMAGES = 500  # of each kind


@dataclass(frozen=True)
class Finished:
    """A variant's file, and its answers to the validation and test splits."""

    variant: Variant
    path: Path
    network: Network
    validation: Outputs
    test: Outputs


def finish_variant(  # noqa: PLR0913
    precision: Precision,
    core: onnx.ModelProto,
    material: Material,
    directory: Path,
    *,
    seed: int,
    quantisation: Quantisation | None = None,
) -> Finished:
    """Fit temperature and rule to a graph, write its file into `directory`, and measure that file.

    Raises `AnswersNotFinite`.
    """
    draft = _open(with_answers(core, AS_TRAINED, None), directory / "draft.onnx")
    as_trained = run_in_batches(draft, material.val)
    if not np.isfinite(as_trained.logits).all():
        raise AnswersNotFinite(precision)
    calibration = fit_calibration(as_trained.logits, material.val_labels)
    rule = _fit_rule(draft, material, as_trained, seed)
    path = directory / file_name(precision)
    network = _open(with_answers(core, calibration, rule.score), path)
    validation, test = run_in_batches(network, material.val), run_in_batches(network, material.test)
    variant = Variant(
        precision=precision,
        file=path.name,
        sha256=sha256_of(path),
        size_bytes=path.stat().st_size,
        metrics=measure(test, material.test_labels),
        calibration=calibration.model_copy(update={"error": calibration_error(test, material.test_labels)}),
        abstain=_abstain(rule, test),
        quantisation=quantisation,
    )
    return Finished(variant, path, network, validation, test)


def _open(model: onnx.ModelProto, path: Path) -> Network:
    """Write and open a file; with exact sums, for a CPU without VNNI would measure its own saturation."""
    onnx.save(model, path)
    return open_network(path, Placement("cpu", usable_cpus()), precise=True)


def _fit_rule(draft: Network, material: Material, validation: Outputs, seed: int) -> Rule:
    few = np.unique(np.linspace(0, len(material.val) - 1, FOREIGN_IMAGES).round().astype(int))  # every class
    strangers = foreign_images(material.val.numpy()[few], material.val_labels[few], seed)
    answers = {kind: run_in_batches(draft, torch.from_numpy(images)) for kind, images in strangers.items()}
    return fit_rule(run_in_batches(draft, material.train), validation, answers)


def _abstain(rule: Rule, test: Outputs) -> Abstain:
    assert test.uncertainty is not None  # the file was written with the rule's score
    return Abstain(
        score=rule.score.name,
        threshold=rule.threshold,
        true_positive_rate=TRUE_POSITIVE_RATE,
        flagged=float((test.uncertainty > rule.threshold).mean()),
        candidates=rule.candidates,
    )
