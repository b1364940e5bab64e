"""The final evaluation agrees with the run's record, comes back as it was written, and keeps flip averaging apart."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.trainer.networks import tiny_network, tiny_split
from trainer.errors import InvalidRun
from trainer.evaluate import evaluate, predict_flip_averaged, predict_logits
from trainer.evaluation import (
    EVALUATION_FILE,
    PREDICTIONS_FILE,
    has_evaluation,
    read_evaluation,
    write_evaluation,
)
from trainer.final_evaluation import cost_of, evaluate_splits
from trainer.history import HISTORY_FILE, read_history
from trainer.metrics import score_predictions
from trainer.run import read_run

CLASSES = ("red", "green", "blue")


def test_a_run_states_the_same_numbers_in_both_files(run_dir: Path) -> None:
    record, evaluation = read_run(run_dir), read_evaluation(run_dir).evaluation
    for split, metrics in ((evaluation.val, record.metrics["val"]), (evaluation.test, record.metrics["test"])):
        assert (split.n, split.correct, split.accuracy, split.loss) == (
            metrics.n, metrics.correct, metrics.accuracy, metrics.loss
        )  # fmt: skip
    assert evaluation.test_flip is None


def test_the_stored_predictions_give_the_stored_metrics(run_dir: Path) -> None:
    evaluated = read_evaluation(run_dir)
    again = score_predictions(
        evaluated.predictions["test"], read_run(run_dir).classes, evaluated.evaluation.test.seconds
    )
    assert again == evaluated.evaluation.test


def test_evaluating_is_what_evaluate_does() -> None:
    network, val, test = tiny_network(), tiny_split(9), tiny_split(30, seed=1)
    evaluation = evaluate_splits(network, {"val": val, "test": test}, CLASSES).evaluation
    score = evaluate(network, test.images, test.labels)
    assert (evaluation.test.correct, evaluation.test.n) == (score.correct, score.n)
    assert evaluation.test.loss == pytest.approx(score.loss)
    assert evaluation.test_flip is None


def test_flip_averaging_is_the_mean_over_the_mirror_image() -> None:
    network, images = tiny_network(), tiny_split(6).images
    with torch.no_grad():
        images[:, :, :4] //= 2
        expected = (network.eval()(images).softmax(1) + network(images.flip(2)).softmax(1)) / 2
    averaged = predict_flip_averaged(network, images)
    assert torch.allclose(averaged.softmax(1), expected, atol=1e-5)
    assert torch.allclose(predict_flip_averaged(network, images.flip(2)), averaged, atol=1e-5)


def test_flip_averaging_never_touches_the_headline() -> None:
    network, splits = tiny_network(), {"val": tiny_split(9), "test": tiny_split(30, seed=1)}
    plain = evaluate_splits(network, splits, CLASSES)  # type: ignore[arg-type]
    both = evaluate_splits(network, splits, CLASSES, flip=True)  # type: ignore[arg-type]
    timing = {"seconds", "images_per_s"}
    assert both.evaluation.test.model_dump(exclude=timing) == plain.evaluation.test.model_dump(exclude=timing)
    assert both.evaluation.test_flip is not None
    assert both.evaluation.test_flip.n == 30
    assert np.array_equal(both.predictions["test"].logits, plain.predictions["test"].logits)


def test_the_cost_of_a_layer_can_be_counted_by_hand() -> None:
    """Three 3x3 convolutions to 8 channels over 8 x 8 places, and a head of 8 x 3; two operations for each product."""
    cost = cost_of(tiny_network(), tiny_split(1).images)
    assert cost.flops == 2 * (64 * 9 * (3 * 8 + 8 * 8 + 8 * 8) + 8 * 3)
    assert cost.parameters == 9 * (3 * 8 + 8 * 8 + 8 * 8) + 3 * 16 + 8 * 3 + 3


def test_an_evaluation_comes_back_as_it_was_written(tmp_path: Path) -> None:
    assert not has_evaluation(tmp_path)
    evaluated = evaluate_splits(tiny_network(), {"val": tiny_split(6), "test": tiny_split(9)}, CLASSES, flip=True)
    write_evaluation(tmp_path, evaluated)
    assert has_evaluation(tmp_path)
    back = read_evaluation(tmp_path)
    assert back.evaluation == evaluated.evaluation
    for split in ("val", "test"):
        assert np.array_equal(back.predictions[split].logits, evaluated.predictions[split].logits)
    assert {path.name for path in tmp_path.iterdir()} == {EVALUATION_FILE, PREDICTIONS_FILE}


@pytest.mark.parametrize("spoilt", [EVALUATION_FILE, PREDICTIONS_FILE, HISTORY_FILE])
def test_a_damaged_file_is_named(run_dir: Path, tmp_path: Path, spoilt: str) -> None:
    for name in (EVALUATION_FILE, PREDICTIONS_FILE, HISTORY_FILE):
        shutil.copy(run_dir / name, tmp_path)
    (tmp_path / spoilt).write_bytes(b"phase,epoch\nx,y\n")
    with pytest.raises(InvalidRun, match=f"{tmp_path / spoilt} cannot be read as part of a run"):
        read_history(tmp_path)
        read_evaluation(tmp_path)


def test_an_unknown_key_is_refused(run_dir: Path, tmp_path: Path) -> None:
    content = json.loads((run_dir / EVALUATION_FILE).read_text())
    (tmp_path / EVALUATION_FILE).write_text(json.dumps(content | {"praise": 1}))
    with pytest.raises(InvalidRun, match="praise"):
        read_evaluation(tmp_path)


def test_a_network_that_answers_nonsense_has_a_finite_evaluation() -> None:
    """Probabilities of 0 for the label stay a number in the file."""
    network = tiny_network()
    head = network.head[1]
    assert isinstance(head, nn.Linear)
    with torch.no_grad():
        head.weight.mul_(1e4)
    evaluation = evaluate_splits(network, {"val": tiny_split(6), "test": tiny_split(9)}, CLASSES, flip=True).evaluation
    assert evaluation.test_flip is not None
    assert np.isfinite([evaluation.test.loss, evaluation.test_flip.loss]).all()
    assert predict_logits(network, tiny_split(9).images).abs().max() > 100


def test_history_comes_back_as_it_was_written(run_dir: Path) -> None:
    rows = read_history(run_dir)
    assert [(row.phase, row.epoch) for row in rows[:2]] == [("head", 0), ("head", 1)]
    assert rows[0].train_loss is None
    assert rows[1].train_loss is not None
    assert rows[1].lr is not None
