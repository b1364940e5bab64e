"""From predictions to metrics: the definitions behind every number of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import log_softmax, softmax

from trainer.evaluation import Average, ClassScore, Predictions, SplitEvaluation

CALIBRATION_BINS = 15
TOP = 5

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Reliability:
    """How often the network is right at each confidence; a bin without images holds NaN."""

    edges: Floats  # [B + 1]
    counts: npt.NDArray[np.int64]  # [B]
    confidence: Floats  # [B], mean of the bin
    accuracy: Floats  # [B]

    @property
    def calibration_error(self) -> float:
        """Return the expected calibration error: the mean gap between confidence and accuracy over the images.

        sum_b |B_b| / n * |accuracy(B_b) - confidence(B_b)|, over bins of equal width of the top-1 probability
        (Naeini et al. 2015; Guo et al. 2017, equation 3).
        """
        gaps = np.nan_to_num(np.abs(self.accuracy - self.confidence))
        return float((self.counts * gaps).sum() / self.counts.sum())


def probabilities_of(predictions: Predictions) -> Floats:
    """Return probabilities [N, K]."""
    probabilities: Floats = softmax(predictions.logits.astype(np.float64), axis=1)
    return probabilities


def reliability(predictions: Predictions, bins: int = CALIBRATION_BINS) -> Reliability:
    """Sort the predictions into bins of equal width by the probability of their class; a bin holds its upper edge."""
    probabilities = probabilities_of(predictions)
    confidence = probabilities.max(1)
    right = probabilities.argmax(1) == predictions.labels
    edges = np.linspace(0.0, 1.0, bins + 1)
    bin_of = np.clip(np.digitize(confidence, edges[1:-1], right=True), 0, bins - 1)
    counts = np.bincount(bin_of, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean_confidence = np.bincount(bin_of, confidence, bins) / counts
        accuracy = np.bincount(bin_of, right.astype(np.float64), bins) / counts
    return Reliability(edges, counts, mean_confidence, accuracy)


def wilson_interval(correct: int, n: int) -> tuple[float, float]:
    """Return the 95 % Wilson score interval of a share (Wilson 1927): it is never empty, not even at 0 or n."""
    # Imported here, like scikit-learn below: seconds that no run should wait for before its first epoch.
    from scipy.stats import binomtest

    interval = binomtest(correct, n).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def score_predictions(predictions: Predictions, classes: Sequence[str], seconds: float) -> SplitEvaluation:
    """Compute every metric of a split; a class that is never predicted has precision 0."""
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    labels, n = predictions.labels, len(predictions.labels)
    predicted = predictions.logits.argmax(1)
    correct = int((predicted == labels).sum())
    low, high = wilson_interval(correct, n)
    every = list(range(len(classes)))
    columns = precision_recall_fscore_support(labels, predicted, labels=every, zero_division=0.0)
    rows = zip(classes, *(column.tolist() for column in columns), strict=True)

    def average(kind: str) -> Average:
        figures = precision_recall_fscore_support(labels, predicted, labels=every, average=kind, zero_division=0.0)
        return Average(precision=float(figures[0]), recall=float(figures[1]), f1=float(figures[2]))

    return SplitEvaluation(
        n=n,
        correct=correct,
        accuracy=correct / n,
        accuracy_low=low,
        accuracy_high=high,
        top5=_top_share(predictions) if len(classes) > TOP else None,
        loss=cross_entropy(predictions),
        calibration_error=reliability(predictions).calibration_error,
        macro=average("macro"),
        weighted=average("weighted"),
        per_class=tuple(ClassScore(name=name, precision=p, recall=r, f1=f, support=s) for name, p, r, f, s in rows),
        confusion=tuple(map(tuple, confusion_matrix(labels, predicted, labels=every).tolist())),
        seconds=seconds,
        images_per_s=n / seconds,
    )


def cross_entropy(predictions: Predictions) -> float:
    """Return the mean cross-entropy in nats."""
    logs = log_softmax(predictions.logits.astype(np.float64), axis=1)
    return float(-logs[np.arange(len(logs)), predictions.labels].mean())


def _top_share(predictions: Predictions) -> float:
    likeliest = np.argpartition(-predictions.logits, TOP - 1, axis=1)[:, :TOP]
    return float((likeliest == predictions.labels[:, None]).any(1).mean())


def classification_report(predictions: Predictions, classes: Sequence[str]) -> str:
    """Return scikit-learn's classification report as text."""
    from sklearn.metrics import classification_report as report

    every = list(range(len(classes)))
    predicted = predictions.logits.argmax(1)
    text: str = report(
        predictions.labels, predicted, labels=every, target_names=list(classes), digits=4, zero_division=0.0
    )
    return text
