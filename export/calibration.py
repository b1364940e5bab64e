"""Make probabilities mean what they say: temperature and slope for the logits, and how far off they are with them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize, minimize_scalar
from scipy.special import log_softmax

from export.measure import Labels
from linnet.manifest import Calibration, CalibrationError
from linnet.session import Outputs
from trainer.evaluation import Predictions
from trainer.metrics import CALIBRATION_BINS, cross_entropy, reliability

Floats = npt.NDArray[np.floating]

SHARPEST, BLUNTEST = 0.05, 20.0  # temperatures that make any sense
_STEEPEST = 2.0  # slopes up to which are looked at, per unit of margin
_FOLDS = 5
_PRIOR = 0.5  # deviation of the logarithm of temperatures that are to be expected
_ENOUGH = 500  # images for a slope: fewer are told apart too easily


def sharpened(logits: Floats, calibration: Calibration) -> Floats:  # [N, K] -> [N, K]
    """Return the logits whose softmax are the calibrated probabilities; the graph does the same.

    They are divided by the temperature, and multiplied by exp(slope x margin), the margin being the lead of the most
    probable class over the next: label smoothing and mixed images hold sure answers down more than doubtful ones, which
    no single temperature mends. The order of the classes stays, whatever the numbers.
    """
    if calibration.slope == 0:
        return logits / calibration.temperature
    ordered = np.sort(logits, axis=1)
    margin = ordered[:, -1:] - ordered[:, -2:-1]
    exponent = calibration.slope * margin - np.log(calibration.temperature)
    factor: Floats = np.exp(exponent.clip(-np.log(BLUNTEST), -np.log(SHARPEST)))
    return logits * factor


def fit_calibration(logits: Floats, labels: Labels) -> Calibration:
    """Return the calibration that gives the labels [N] the highest likelihood, with a slope where one generalises.

    A slope is a second number to fit, so it must show a lower loss in 5-fold cross-validation.
    """
    if len(labels) < _ENOUGH:
        return fit_temperature(logits, labels)
    with_slope = without = 0.0
    for fold in range(_FOLDS):
        held = np.arange(len(labels)) % _FOLDS == fold
        without += _loss(logits[held], labels[held], fit_temperature(logits[~held], labels[~held])) * held.sum()
        with_slope += _loss(logits[held], labels[held], fit_slope(logits[~held], labels[~held])) * held.sum()
    return (fit_slope if with_slope < without else fit_temperature)(logits, labels)


def fit_temperature(logits: Floats, labels: Labels) -> Calibration:
    """Return the temperature alone whose softmax of logits [N, K] gives the labels [N] the highest likelihood.

    Guo et al. 2017, "On calibration of modern neural networks", section 4.2; with a prior around 1, which a dozen of
    images feel and a thousand do not: a few that are all right would otherwise ask for certainty.
    """
    found = minimize_scalar(
        lambda log_temperature: _cost(logits, labels, Calibration(temperature=np.exp(log_temperature))),
        bounds=(np.log(SHARPEST), np.log(BLUNTEST)),
        method="bounded",
    )
    return Calibration(temperature=float(np.exp(found.x)))


def fit_slope(logits: Floats, labels: Labels) -> Calibration:
    """Return temperature and slope together; a slope is never negative: more evidence must not mean less confidence."""
    start = np.log(fit_temperature(logits, labels).temperature)

    def calibration(numbers: Floats) -> Calibration:
        return Calibration(temperature=float(np.exp(numbers[0])), slope=float(numbers[1]))

    found = minimize(
        lambda numbers: _cost(logits, labels, calibration(numbers)),
        x0=[start, 0.02],
        bounds=[(np.log(SHARPEST), np.log(BLUNTEST)), (0.0, _STEEPEST)],
        method="Nelder-Mead",
    )
    return calibration(found.x)


def _cost(logits: Floats, labels: Labels, calibration: Calibration) -> float:
    unlikely = 0.5 * (np.log(calibration.temperature) / _PRIOR) ** 2
    return _loss(logits, labels, calibration) + float(unlikely) / len(labels)


def _loss(logits: Floats, labels: Labels, calibration: Calibration) -> float:
    return cross_entropy(Predictions(sharpened(logits, calibration), labels))


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
