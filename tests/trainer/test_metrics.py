"""Every metric against its definition, worked by hand or by brute force."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.evaluation import Predictions
from trainer.metrics import (
    classification_report,
    cross_entropy,
    probabilities_of,
    reliability,
    score_predictions,
    wilson_interval,
)

CLASSES = ("ant", "bee", "cat")


def predictions(rows: list[list[float]], labels: list[int]) -> Predictions:
    """Return predictions whose probabilities are `rows`."""
    return Predictions(np.log(np.array(rows, dtype=np.float32)), np.array(labels, dtype=np.int64))


@pytest.fixture
def answers() -> Predictions:
    """Four answers: ant and bee right, bee called ant, cat called bee."""
    rows = [[0.9, 0.05, 0.05], [0.2, 0.7, 0.1], [0.5, 0.3, 0.2], [0.1, 0.8, 0.1]]
    return predictions(rows, [0, 1, 1, 2])


def test_counts_and_confusion(answers: Predictions) -> None:
    score = score_predictions(answers, CLASSES, seconds=2.0)
    assert (score.n, score.correct, score.accuracy) == (4, 2, 0.5)
    assert score.confusion == ((1, 0, 0), (1, 1, 0), (0, 1, 0))
    assert (score.seconds, score.images_per_s) == (2.0, 2.0)
    assert score.loss == pytest.approx(-np.log([0.9, 0.7, 0.3, 0.1]).mean())
    assert score.loss == pytest.approx(cross_entropy(answers))


def test_precision_recall_and_f1_by_class(answers: Predictions) -> None:
    score = score_predictions(answers, CLASSES, seconds=1.0)
    ant, bee, cat = score.per_class
    assert (ant.name, ant.precision, ant.recall, ant.support) == ("ant", 0.5, 1.0, 1)
    assert (bee.precision, bee.recall, bee.f1, bee.support) == (0.5, 0.5, 0.5, 2)
    assert (cat.precision, cat.recall, cat.f1, cat.support) == (0.0, 0.0, 0.0, 1)
    assert score.macro.recall == pytest.approx(0.5)
    assert score.macro.f1 == pytest.approx((2 / 3 + 0.5 + 0) / 3)
    assert score.weighted.f1 == pytest.approx((2 / 3 + 2 * 0.5 + 0) / 4)


def test_a_class_without_images_is_still_a_row() -> None:
    score = score_predictions(predictions([[0.9, 0.05, 0.05]], [0]), CLASSES, seconds=1.0)
    assert [row.support for row in score.per_class] == [1, 0, 0]
    assert len(score.confusion) == 3


def test_the_calibration_error_is_the_weighted_gap() -> None:
    """0.95 and 0.97 share the last of ten bins (one right), 0.62 is alone in its bin (right)."""
    rows = [[0.95, 0.05], [0.03, 0.97], [0.62, 0.38]]
    bins = reliability(predictions(rows, [0, 0, 0]), bins=10)
    assert bins.counts.tolist() == [0, 0, 0, 0, 0, 0, 1, 0, 0, 2]
    assert bins.accuracy[9] == pytest.approx(0.5)
    assert bins.confidence[9] == pytest.approx(0.96)
    assert bins.calibration_error == pytest.approx((1 * abs(1 - 0.62) + 2 * abs(0.5 - 0.96)) / 3)


def test_the_calibration_error_of_honest_confidence_is_small() -> None:
    """Labels drawn from the stated probabilities themselves."""
    chance = np.random.default_rng(0)
    sure = chance.uniform(0.5, 1.0, 50_000)
    rows = np.stack([sure, 1 - sure], 1)
    labels = (chance.uniform(size=len(sure)) > sure).astype(np.int64)
    honest = Predictions(np.log(rows).astype(np.float32), labels)
    assert reliability(honest).calibration_error < 0.01
    boastful = Predictions(honest.logits * 4, labels)
    assert reliability(boastful).calibration_error > 0.1


def test_certainty_lies_in_the_last_bin() -> None:
    bins = reliability(Predictions(np.array([[200.0, 0.0]], dtype=np.float32), np.array([0])))
    assert bins.counts[-1] == 1
    assert bins.calibration_error == 0.0


def test_wilson_interval_is_that_of_the_textbook() -> None:
    """Wilson 1927: (p + z^2/2n ± z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n)."""
    z, n, p = 1.959964, 153, 145 / 153
    centre, half = p + z**2 / (2 * n), z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    expected = ((centre - half) / (1 + z**2 / n), (centre + half) / (1 + z**2 / n))
    assert wilson_interval(145, 153) == pytest.approx(expected, abs=1e-6)
    assert wilson_interval(24, 24)[0] < 1 == wilson_interval(24, 24)[1]


def test_top_five_counts_the_five_likeliest() -> None:
    classes = tuple("abcdefg")
    chance = np.random.default_rng(1)
    logits = chance.normal(size=(40, 7)).astype(np.float32)
    labels = chance.integers(0, 7, 40)
    ranks = [int((row > row[label]).sum()) for row, label in zip(logits, labels, strict=True)]
    score = score_predictions(Predictions(logits, labels), classes, seconds=1.0)
    assert score.top5 == pytest.approx(np.mean([rank < 5 for rank in ranks]))
    assert score.top5 not in (None, 0.0, 1.0)


def test_five_classes_have_no_top_five(answers: Predictions) -> None:
    assert score_predictions(answers, CLASSES, seconds=1.0).top5 is None


def test_the_text_report_names_classes_and_averages(answers: Predictions) -> None:
    text = classification_report(answers, CLASSES)
    assert [line.split()[0] for line in text.splitlines() if line.strip()][1:4] == list(CLASSES)
    assert "macro avg" in text
    assert "weighted avg" in text


def test_probabilities_sum_to_one(answers: Predictions) -> None:
    assert probabilities_of(answers).sum(1) == pytest.approx(np.ones(4))
