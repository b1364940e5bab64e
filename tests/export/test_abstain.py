"""Scores rank strangers above what is known, the graph computes them, and the threshold keeps 95 in 100."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from export.abstain import fit_rule
from export.foreign import foreign_images
from export.measure import auroc
from export.scores import NEIGHBOUR, fit_scores
from linnet.session import Outputs

CLASSES, SIZE = 3, 80


def answers(count: int, *, familiar: bool, seed: int) -> Outputs:
    """Return answers whose embeddings lie near one of three axes, or anywhere."""
    chance = np.random.default_rng(seed)
    embedding = chance.normal(0, 0.3, (count, SIZE)).astype(np.float32)
    if familiar:
        embedding[np.arange(count), np.arange(count) % CLASSES] += 5
    logits = embedding[:, :CLASSES] * 2
    return Outputs(logits, logits, embedding)


@pytest.fixture(scope="module")
def known() -> Outputs:
    return answers(300, familiar=True, seed=0)


def by_hand(name: str, known: Outputs, asked: Outputs) -> npt.NDArray[np.floating]:
    """Return a score as its paper defines it."""
    logits, embedding = asked.logits.astype(np.float64), asked.embedding.astype(np.float64)
    scores: npt.NDArray[np.floating]
    if name == "max_softmax":
        shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        scores = -shares.max(1)
        return scores
    if name == "energy":
        scores = -np.log(np.exp(logits).sum(1))
        return scores
    if name == "norm":
        scores = -np.linalg.norm(embedding, axis=1)
        return scores
    _, _, components = np.linalg.svd(known.embedding, full_matrices=False)
    basis = components[:64].T
    ours, theirs = embedding @ basis, known.embedding @ basis
    ours /= np.linalg.norm(ours, axis=1, keepdims=True)
    theirs /= np.linalg.norm(theirs, axis=1, keepdims=True)
    return -np.sort(ours @ theirs.T, axis=1)[:, -NEIGHBOUR]


def test_the_graph_computes_what_the_papers_say(known: Outputs) -> None:
    asked = answers(20, familiar=True, seed=1)
    scores = fit_scores(known)
    assert {score.name for score in scores} == {"max_softmax", "energy", "norm", "knn"}
    for score in scores:
        assert score.of(asked) == pytest.approx(by_hand(score.name, known, asked), abs=1e-4), score.name


def test_strangers_score_higher(known: Outputs) -> None:
    ours, foreign = answers(100, familiar=True, seed=2), answers(100, familiar=False, seed=3)
    for score in fit_scores(known):
        assert auroc(score.of(ours), score.of(foreign)) > 0.9, score.name


def test_an_embedding_of_zeros_has_a_score(known: Outputs) -> None:
    nothing = Outputs(np.zeros((2, 3), np.float32), np.zeros((2, 3), np.float32), np.zeros((2, SIZE), np.float32))
    assert all(np.isfinite(score.of(nothing)).all() for score in fit_scores(known))


def test_the_rule_is_the_best_score_and_keeps_95_of_100(known: Outputs) -> None:
    validation = answers(200, familiar=True, seed=4)
    rule = fit_rule(known, validation, {"strange": answers(50, familiar=False, seed=5)})
    assert rule.candidates[rule.score.name] == max(rule.candidates.values())
    flagged = (rule.score.of(validation) > rule.threshold).sum()
    assert 8 <= flagged <= 10


def test_the_area_under_the_curve_counts_pairs() -> None:
    known, foreign = np.array([1, 2, 3], np.float32), np.array([2, 4], np.float32)
    assert auroc(known, foreign) == pytest.approx((1.5 + 3) / 6)
    assert auroc(known, known) == 0.5
    assert auroc(known, known + 10) == 1


def test_foreign_images_are_made_of_known_ones_and_are_none_of_them() -> None:
    chance = np.random.default_rng(0)
    images = chance.integers(0, 256, (6, 21, 21, 3), dtype=np.uint8)
    labels = np.arange(6) % 2
    kinds = foreign_images(images, labels, seed=1)
    assert kinds.keys() == {"tiles", "blends", "pixels", "spots"}
    for name, made in kinds.items():
        assert made.shape == images.shape, name
        assert made.dtype == np.uint8, name
        assert all((one != other).any() for one, other in zip(made, images, strict=True)), name
        assert np.array_equal(made, foreign_images(images, labels, seed=1)[name])
    for name in ("tiles", "pixels"):
        assert np.array_equal(np.sort(kinds[name].reshape(6, -1)), np.sort(images.reshape(6, -1))), name
