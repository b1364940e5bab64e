"""Make probabilities mean what they say: a temperature for the logits, and how far off they are without and with it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from export.measure import Labels
from linnet.manifest import CalibrationError
from linnet.session import Outputs
from trainer.evaluation import Predictions
from trainer.metrics import CALIBRATION_BINS, cross_entropy, reliability

Floats = npt.NDArray[np.floating]

_SHARPEST, _BLUNTEST = 0.05, 20.0  # temperatures that make any sense


def fit_temperature(logits: Floats, labels: Labels) -> float:
    """Return the temperature whose softmax of logits [N, K] gives the labels [N] the highest likelihood.

    Guo et al. 2017, "On calibration of modern neural networks", section 4.2.
    """

    def loss(log_temperature: float) -> float:
        return cross_entropy(Predictions(logits / np.exp(log_temperature), labels))

    found = minimize_scalar(loss, bounds=(np.log(_SHARPEST), np.log(_BLUNTEST)), method="bounded")
    return float(np.exp(found.x))


def calibration_error(answers: Outputs, labels: Labels) -> CalibrationError:
    """Return the expected calibration error of answers to the test split, as trained and as served."""
    before = reliability(Predictions(answers.logits, labels))
    tiny = np.finfo(np.float32).tiny
    after = reliability(Predictions(np.log(answers.probabilities.clip(tiny)), labels))
    return CalibrationError(
        split="test",
        n=len(labels),
        bins=CALIBRATION_BINS,
        before=before.calibration_error,
        after=after.calibration_error,
    )


def divergence(expected: Floats, answered: Floats) -> float:
    """Return the mean Kullback-Leibler divergence of softmaxes, nats per image; infinite where there are no numbers."""
    with np.errstate(all="ignore"):
        ours, theirs = (log_softmax(logits.astype(np.float64), axis=1) for logits in (expected, answered))
        mean = float((np.exp(ours) * (ours - theirs)).sum(1).mean())
    return mean if np.isfinite(mean) else float("inf")
