"""Temperature and calibration error against cases that can be worked out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from scipy.special import softmax

from export.calibration import (
    calibration_error,
    divergence,
    fit_calibration,
    fit_slope,
    fit_temperature,
    sharpened,
)
from export.tail import with_answers
from linnet.manifest import Calibration
from linnet.session import Outputs
from trainer.evaluation import Predictions
from trainer.metrics import cross_entropy


def drawn(temperature: float, count: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Return logits [N, 3] and labels drawn from their softmax over a temperature."""
    chance = np.random.default_rng(0)
    logits = chance.normal(0, 3, (count, 3)).astype(np.float32)
    shares = softmax(logits / temperature, axis=1)
    labels = (chance.random((count, 1)) > shares.cumsum(1)).sum(1).clip(0, 2)
    return logits, labels


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_that_the_labels_were_drawn_with_is_found(temperature: float) -> None:
    logits, labels = drawn(temperature)
    assert fit_temperature(logits, labels).temperature == pytest.approx(temperature, rel=0.05)


def test_no_neighbour_of_the_temperature_is_better() -> None:
    logits, labels = drawn(1.7)
    found = fit_temperature(logits, labels).temperature
    factors = (1, 0.9, 0.99, 1.01, 1.1)
    scaled = [(logits / (found * factor)).astype(np.float32) for factor in factors]
    losses = [cross_entropy(Predictions(answers, labels)) for answers in scaled]
    assert losses[0] == min(losses)


def test_answers_that_are_always_right_give_a_temperature_all_the_same() -> None:
    logits = np.eye(3, dtype=np.float32) * 4
    assert 0.5 < fit_temperature(logits, np.arange(3)).temperature < 1


def held_down(count: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Return logits that understate sure answers: labels are drawn as if the lead were worth more the larger it is."""
    logits, _ = drawn(1.0, count)
    meant = sharpened(logits, Calibration(temperature=1.4, slope=0.15))
    chance = np.random.default_rng(1)
    labels = (chance.random((count, 1)) > softmax(meant, axis=1).cumsum(1)).sum(1).clip(0, 2)
    return logits, labels


def test_the_slope_that_the_labels_were_drawn_with_is_found() -> None:
    found = fit_slope(*held_down())
    assert found.temperature == pytest.approx(1.4, rel=0.1)
    assert found.slope == pytest.approx(0.15, abs=0.03)


def test_a_slope_is_taken_only_where_it_generalises() -> None:
    assert fit_calibration(*held_down()).slope > 0.1
    plain = [fit_calibration(*drawn(1.7, 600 + more)) for more in range(5)]
    assert sum(found.slope == 0 for found in plain) >= 3  # by chance a needless one is better now and then
    assert fit_calibration(np.eye(3, dtype=np.float32), np.arange(3)).slope == 0


@pytest.mark.parametrize("slope", [0.0, 0.1, 2.0])
def test_the_order_of_the_classes_stays_whatever_the_numbers(slope: float) -> None:
    logits = np.random.default_rng(2).normal(0, 1, (50, 10)).astype(np.float32) * np.logspace(-3, 4, 50)[:, None]
    answers = sharpened(logits, Calibration(temperature=0.7, slope=slope))
    assert np.isfinite(answers).all()
    assert (answers.argsort(1) == logits.argsort(1)).all()


@pytest.mark.parametrize("calibration", [Calibration(temperature=0.6), Calibration(temperature=1.3, slope=0.2)])
def test_the_graph_sharpens_as_numpy_does(calibration: Calibration, tmp_path: Path) -> None:
    logits = np.random.default_rng(3).normal(0, 4, (9, 5)).astype(np.float32)
    logits[0] *= 1000
    value = onnx.helper.make_tensor_value_info
    identity = onnx.helper.make_node("Identity", ["given"], ["logits"])
    core = onnx.helper.make_model(
        onnx.helper.make_graph(
            [identity],
            "core",
            [value("given", onnx.TensorProto.FLOAT, ["N", 5])],
            [value("logits", onnx.TensorProto.FLOAT, ["N", 5])],
        ),
        opset_imports=[onnx.helper.make_opsetid("", 20)],
        ir_version=10,
    )
    onnx.save(with_answers(core, calibration, None), tmp_path / "answers.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "answers.onnx", providers=["CPUExecutionProvider"])
    (said,) = session.run(["probabilities"], {"given": logits})
    assert np.allclose(said, softmax(sharpened(logits, calibration), axis=1), atol=1e-5)


def outputs(logits: np.ndarray, temperature: float) -> Outputs:
    return Outputs(softmax(logits / temperature, axis=1).astype(np.float32), logits, logits)


def test_the_calibration_error_counts_the_gaps() -> None:
    """Two bins: of four answers at 0.9 half are right, of one at 0.6 all; (4 x 0.4 + 1 x 0.4) / 5."""
    logits = np.log(np.array([[0.9, 0.1]] * 4 + [[0.6, 0.4]]))
    error = calibration_error(outputs(logits, 1.0), np.array([0, 0, 1, 1, 0]))
    assert (error.split, error.n, error.bins) == ("test", 5, 15)
    assert error.before == pytest.approx(0.4)
    assert error.after == pytest.approx(0.4)


def test_the_error_is_that_of_the_probabilities_served() -> None:
    logits, labels = drawn(2.5)
    error = calibration_error(outputs(logits, fit_temperature(logits, labels).temperature), labels)
    assert error.before > 0.1
    assert error.after < 0.015


def test_certain_and_right_is_no_error_and_infinitely_sure_is_no_crash() -> None:
    logits = np.array([[500.0, -500.0], [-500.0, 500.0]])
    error = calibration_error(outputs(logits, 1.0), np.array([0, 1]))
    assert error.before == error.after == 0


def test_the_divergence_by_hand() -> None:
    even, uneven = np.log(np.array([[0.5, 0.5]])), np.log(np.array([[0.9, 0.1]]))
    assert divergence(even, uneven) == pytest.approx(0.5 * np.log(0.5 / 0.9) + 0.5 * np.log(0.5 / 0.1))
    assert divergence(even, even) == 0
    assert divergence(even, np.full_like(even, np.nan)) == float("inf")
