"""A bundle with every variant: each file is what its manifest says, and each was let through its gates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from scipy.special import softmax

from export.calibration import calibration_error
from export.gates import LARGEST_BATCH_DIFFERENCE
from linnet.bundle import read_manifest, verify_files
from linnet.choice import open_bundle
from linnet.manifest import Manifest, Precision
from linnet.preprocess import load_image
from linnet.session import Outputs, Placement

PRECISIONS: tuple[Precision, ...] = ("fp32", "int8", "fp16")


@pytest.fixture(scope="module")
def manifest(full_bundle_dir: Path) -> Manifest:
    return read_manifest(full_bundle_dir)


@pytest.fixture(scope="module")
def measured_on(manifest: Manifest, photos: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [N, H, W, 3] and labels [N], read from the folders by nothing of the exporter's."""
    paths = sorted((photos / "test").rglob("*.jpg"))
    images = np.stack([load_image(path.read_bytes(), manifest.preprocess) for path in paths])
    return images, np.array([manifest.classes.index(path.parent.name) for path in paths])


@pytest.fixture(scope="module")
def answers(
    full_bundle_dir: Path, manifest: Manifest, measured_on: tuple[np.ndarray, np.ndarray]
) -> dict[Precision, Outputs]:
    return {
        precision: open_bundle(full_bundle_dir, manifest, Placement("cpu"), wanted=precision).network(measured_on[0])
        for precision in PRECISIONS
    }


def test_the_bundle_holds_every_variant(full_bundle_dir: Path, manifest: Manifest) -> None:
    verify_files(full_bundle_dir, manifest)
    assert [variant.precision for variant in manifest.variants] == list(PRECISIONS)
    sizes = {variant.precision: variant.size_bytes for variant in manifest.variants}
    assert sizes["int8"] < 0.4 * sizes["fp32"]
    assert sizes["fp16"] < 0.65 * sizes["fp32"]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_figure_of_a_variant_can_be_counted_again(
    manifest: Manifest,
    answers: dict[Precision, Outputs],
    measured_on: tuple[np.ndarray, np.ndarray],
    precision: Precision,
) -> None:
    said, labels = answers[precision], measured_on[1]
    variant = manifest.variant(precision)
    assert variant is not None
    assert variant.metrics.correct == (said.probabilities.argmax(1) == labels).sum()
    assert variant.metrics.loss == pytest.approx(-np.log(said.probabilities[np.arange(18), labels]).mean(), abs=2e-3)
    error = variant.calibration.error
    assert error is not None
    again = calibration_error(said, labels)
    assert (error.before, error.after) == pytest.approx((again.before, again.after), abs=5e-3)
    scaled = softmax(said.logits / variant.calibration.temperature, axis=1)
    assert np.allclose(said.probabilities, scaled, atol=1e-5)
    assert variant.abstain is not None
    assert said.uncertainty is not None
    assert variant.abstain.flagged == pytest.approx((said.uncertainty > variant.abstain.threshold).mean(), abs=0.06)


def test_each_variant_has_its_own_temperature_and_threshold(manifest: Manifest) -> None:
    assert len({variant.calibration.temperature for variant in manifest.variants}) == 3
    assert len({variant.abstain.threshold for variant in manifest.variants if variant.abstain}) == 3


def test_only_int8_tells_of_its_quantisation(manifest: Manifest) -> None:
    assert [variant.quantisation is not None for variant in manifest.variants] == [False, True, False]


def test_the_gates_are_on_record(manifest: Manifest) -> None:
    passed = [(gate.precision, gate.name) for gate in manifest.gates]
    assert passed == [
        ("fp32", "parity"),
        *(("fp32", name) for name in ("batches", "alone")),
        ("fp16", "range"),
        *((precision, name) for precision in ("int8", "fp16") for name in ("accuracy", "batches", "alone")),
    ]
    assert all(gate.measured <= gate.limit for gate in manifest.gates)
    # 20 points of 9 validation images are 1.8, rounded up to 2.
    assert {gate.limit for gate in manifest.gates if gate.name == "accuracy"} == {100 * 2 / 9}
    assert {gate.precision: gate.limit for gate in manifest.gates if gate.name == "alone"} == LARGEST_BATCH_DIFFERENCE


def test_the_backbone_is_integers_and_the_rest_is_not(full_bundle_dir: Path) -> None:
    graph = onnx.load(full_bundle_dir / "model.int8.onnx").graph
    weights = {item.name: item.data_type for item in graph.initializer}
    assert sum(kind == onnx.TensorProto.INT8 for kind in weights.values()) >= 52
    assert weights["network.head.1.weight"] == onnx.TensorProto.FLOAT
    kinds = [node.op_type for node in graph.node]
    assert not {"Cast", "QuantizeLinear"} & set(kinds[: kinds.index("Conv")]), "the image is bytes already"


def test_the_self_test_covers_every_variant(manifest: Manifest) -> None:
    for case in manifest.self_test:
        assert case.probabilities.keys() == set(PRECISIONS)
    rows = {name: np.array([case.probabilities[name] for case in manifest.self_test]) for name in PRECISIONS}
    assert (rows["fp32"] != rows["int8"]).any()
