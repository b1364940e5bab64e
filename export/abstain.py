"""Fit the rule by which an answer is marked as uncertain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from export.measure import auroc
from export.scores import Score, fit_scores
from linnet.manifest import ScoreName
from linnet.session import Outputs

TRUE_POSITIVE_RATE = 0.95


@dataclass(frozen=True)
class Rule:
    """A score, and the value above which it makes an answer uncertain."""

    score: Score
    threshold: float
    candidates: dict[ScoreName, float]  # mean AUROC of every score that was tried


def fit_rule(known: Outputs, validation: Outputs, foreign: dict[str, Outputs]) -> Rule:
    """Return the score that tells validation images best from foreign ones, and its threshold.

    `known` are answers to training images; `foreign` to each kind of foreign images, which count alike. 95 % of the
    validation images lie at or below the threshold.
    """
    scores = fit_scores(known)
    ours = {score.name: score.of(validation) for score in scores}
    candidates = {
        score.name: float(np.mean([auroc(ours[score.name], score.of(kind)) for kind in foreign.values()]))
        for score in scores
    }
    best = max(scores, key=lambda score: candidates[score.name])
    threshold = float(np.quantile(ours[best.name], TRUE_POSITIVE_RATE, method="higher"))
    return Rule(best, threshold, candidates)
