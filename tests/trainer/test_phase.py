"""A phase leaves the best of its epochs behind, and never something worse than it found, unless it is told to."""

from __future__ import annotations

from io import StringIO

import pytest
import torch
from rich.console import Console

from tests.trainer.networks import changed, copy_of, quiet, tiny_network, tiny_phase, tiny_split
from trainer.checkpoint import Checkpoint
from trainer.errors import NonFiniteLoss
from trainer.inputs import Split
from trainer.learner import Learner
from trainer.network import Classifier
from trainer.phase import Watch, run_phase
from trainer.progress import Reporter
from trainer.recipe import Phase

TRAIN, VAL = tiny_split(24, seed=1), tiny_split(30, seed=2)


class Diary:
    """Keeps, for each epoch, what was to be continued from and the weights that were judged."""

    def __init__(self, learner: Learner) -> None:
        self.learner = learner
        self.candidates = {0: copy_of(learner.candidate)}
        self.saved: list[int] = []

    def save(self, state: Checkpoint) -> None:
        self.saved.append(state.epoch)
        self.candidates[state.epoch] = copy_of(self.learner.candidate)


def carry_out(network: Classifier, phase: Phase, train: Split = TRAIN) -> tuple[Checkpoint, Diary]:
    learner = Learner(network, phase, train, VAL)
    state, diary = Checkpoint(recipe={}, data=""), Diary(learner)
    run_phase(learner, phase, 0, state, Watch(diary.save, quiet()))
    return state, diary


@pytest.mark.parametrize("unfreeze", ["head", "all"])
@pytest.mark.parametrize("ema_decay", [0.0, 0.5])
def test_the_best_epoch_is_kept(unfreeze: str, ema_decay: float) -> None:
    network = tiny_network()
    state, diary = carry_out(network, tiny_phase(unfreeze, epochs=12, lr=5e-2, ema_decay=ema_decay))
    accuracies = [row.val_accuracy for row in state.history]
    assert len(accuracies) == 13
    assert max(accuracies) > accuracies[0], "nothing was learnt, so nothing is tested"
    equals = [row for row in state.history if row.val_accuracy == max(accuracies)]
    assert state.best_loss == min(row.val_loss for row in equals)
    assert state.best_epoch == next(row.epoch for row in equals if row.val_loss == state.best_loss)
    assert 0 < state.best_epoch < 12
    assert state.best_accuracy == max(accuracies)
    assert not changed(diary.candidates[state.best_epoch], network)
    assert changed(diary.candidates[12], network)
    assert diary.saved == list(range(1, 13)), "one checkpoint for each epoch"


@pytest.mark.parametrize("unfreeze", ["head", "all"])
def test_the_state_before_the_phase_is_a_candidate(unfreeze: str) -> None:
    network = tiny_network()
    carry_out(network, tiny_phase("all", epochs=12, lr=5e-2))
    before = copy_of(network)
    misleading = Split(TRAIN.images, (TRAIN.labels + 1) % 3)
    state, _ = carry_out(network, tiny_phase(unfreeze, epochs=2, lr=0.3), misleading)
    assert max(row.val_accuracy for row in state.history[1:]) < state.history[0].val_accuracy == 1.0
    assert state.best_epoch == 0
    assert not changed(before, network)


@pytest.mark.parametrize("ema_decay", [0.0, 0.5])
def test_the_last_epoch_is_kept_where_the_recipe_says_so(ema_decay: float) -> None:
    network = tiny_network()
    carry_out(network, tiny_phase("all", epochs=12, lr=5e-2))
    misleading = Split(TRAIN.images, (TRAIN.labels + 1) % 3)
    phase = tiny_phase("all", epochs=2, lr=0.3, ema_decay=ema_decay).model_copy(update={"keep": "last"})
    state, diary = carry_out(network, phase, misleading)
    assert state.best_epoch == 0, "the last is the best, so nothing is tested"
    assert not changed(diary.candidates[2], network)
    assert changed(state.best, network)


def test_of_equal_accuracies_the_lowest_loss_is_kept() -> None:
    network = tiny_network()
    state, diary = carry_out(network, tiny_phase(epochs=12, lr=5e-2))
    equals = [row for row in state.history if row.val_accuracy == state.best_accuracy]
    assert equals[0].epoch < state.best_epoch < equals[-1].epoch, "neither the first nor the last, or nothing is tested"
    assert equals[0].val_loss > 2 * state.best_loss
    assert not changed(diary.candidates[state.best_epoch], network)


def test_patience_ends_a_phase_early() -> None:
    """It waits for a higher accuracy: losses that fall at the same one do not prolong the phase."""
    phase = tiny_phase(epochs=40, lr=5e-2).model_copy(update={"patience": 3})
    state, diary = carry_out(tiny_network(), phase)
    accuracies = [row.val_accuracy for row in state.history]
    rose = accuracies.index(max(accuracies))
    assert state.epoch == rose + 3 < 40
    assert rose < state.best_epoch
    assert diary.saved[-1] == state.epoch


def test_without_patience_every_epoch_is_run() -> None:
    state, _ = carry_out(tiny_network(), tiny_phase(epochs=5, lr=1e-9))
    assert [row.epoch for row in state.history] == [0, 1, 2, 3, 4, 5]


def test_epochs_are_described() -> None:
    state, _ = carry_out(tiny_network(), tiny_phase(epochs=2))
    first, last = state.history[0], state.history[-1]
    assert (first.train_loss, first.train_accuracy, first.lr, first.images_per_s) == (None, None, None, None)
    assert last.train_loss is not None
    assert last.lr is not None
    assert 0 < last.lr < 1e-2
    assert last.images_per_s is not None
    assert last.images_per_s > 0
    assert last.seconds > 0


def test_progress_is_one_line_per_epoch() -> None:
    heard = StringIO()
    phase = tiny_phase(epochs=2)
    with Reporter(Console(file=heard)) as reporter:
        learner = Learner(tiny_network(), phase, TRAIN, VAL)
        run_phase(learner, phase, 0, Checkpoint(recipe={}, data=""), Watch(lambda _: None, reporter))
    lines = heard.getvalue().splitlines()
    assert [line.split("  ")[0] for line in lines] == ["tiny 0/2", "tiny 1/2", "tiny 2/2"]
    assert "images/s" not in lines[0]
    assert all(word in lines[1] for word in ("loss", "accuracy", "images/s", "validation loss"))


@pytest.mark.parametrize("batch_size", [6, 24])  # of 24 images: the loss breaks inside an epoch, or between two
def test_a_training_that_explodes_keeps_the_last_good_state(batch_size: int) -> None:
    phase = tiny_phase("all", 4, batch_size, name="sgd", lr=1e300, momentum=0.0, schedule="constant", weight_decay=0.0)
    learner = Learner(tiny_network(), phase, TRAIN, VAL)
    before = copy_of(learner.network)
    state, saved = Checkpoint(recipe={}, data=""), []

    def save(now: Checkpoint) -> None:
        saved.append(all(bool(tensor.isfinite().all()) for tensor in now.network.values()))

    where = "epoch 1, step 2" if batch_size == 6 else "epoch 1, validation"
    with pytest.raises(
        NonFiniteLoss, match=f"The loss is not finite in phase 'tiny', {where}: lower optim.lr and start another run"
    ):
        run_phase(learner, phase, 0, state, Watch(save, quiet()))
    assert all(saved), "a state was saved that cannot be continued from"
    assert len(state.history) == 1, "an epoch that came to nothing has no row"
    assert all(torch.equal(before[name], tensor) for name, tensor in state.best.items())
