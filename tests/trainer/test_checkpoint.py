"""A checkpoint is whole or it is not there, and what it says is read without running code from it."""

from __future__ import annotations

import csv
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trainer.networks import quiet, tiny_network, tiny_phase, tiny_split
from trainer.checkpoint import RESUME_FILE, STAGING_FILE, Checkpoint, load_checkpoint, save_checkpoint
from trainer.errors import DiskFull, InvalidRun
from trainer.history import HISTORY_FILE, Epoch, write_history
from trainer.learner import Learner
from trainer.phase import Watch, run_phase

ROWS = [
    Epoch(phase="a", epoch=0, val_loss=1.5, val_accuracy=0.25, seconds=0.5),
    Epoch(
        phase="a", epoch=1, train_loss=1.0, train_accuracy=0.5, val_loss=1.25, val_accuracy=0.5, lr=0.1,
        images_per_s=10.0, seconds=2.0,
    ),
]  # fmt: skip


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    checkpoint = Checkpoint(
        recipe={"name": "x", "phase": [{"optim": {"lr": 1e-3}}]},
        data="abc",
        phase=1,
        epoch=2,
        best_accuracy=0.5,
        best_loss=1.25,
        best_epoch=1,
        best={"w": torch.rand(3)},
        network={"w": torch.rand(3)},
        optimizer={"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 0.1, "params": [0]}]},
        history=ROWS,
        seconds=12.5,
    )
    save_checkpoint(tmp_path, checkpoint)
    again = load_checkpoint(tmp_path)
    for name, value in vars(checkpoint).items():
        if name in ("best", "network"):
            assert torch.equal(getattr(again, name)["w"], value["w"])
        else:
            assert getattr(again, name) == value, name
    assert [path.name for path in tmp_path.iterdir()] == [RESUME_FILE]


@pytest.mark.parametrize("unfreeze", ["head", "1 blocks", "all"])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_phase_continued_from_a_file_ends_with_the_same_bits(tmp_path: Path, unfreeze: str, optimizer: str) -> None:
    phase = tiny_phase(unfreeze, epochs=4, name=optimizer, ema_decay=0.8, warmup=0.2)
    train, val = tiny_split(24, seed=1), tiny_split(30, seed=2)
    whole, part, rest = tiny_network(dropout=0.3), tiny_network(dropout=0.3), tiny_network(7, dropout=0.3)
    uninterrupted = Checkpoint(recipe={}, data="")
    run_phase(Learner(whole, phase, train, val), phase, 5, uninterrupted, Watch(lambda _: None, quiet()))

    def stop_after_two(state: Checkpoint) -> None:
        save_checkpoint(tmp_path, state)
        if state.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_phase(Learner(part, phase, train, val), phase, 5, Checkpoint({}, ""), Watch(stop_after_two, quiet()))
    state = load_checkpoint(tmp_path)
    assert state.epoch == 2
    rest.load_state_dict(state.network)
    run_phase(Learner(rest, phase, train, val), phase, 5, state, Watch(lambda _: None, quiet()))
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, rest.state_dict()[name]), name
    timeless = [
        [(row.epoch, row.train_loss, row.val_loss, row.val_accuracy, row.lr) for row in history]
        for history in (uninterrupted.history, state.history)
    ]
    assert timeless[0] == timeless[1]


def test_a_phase_continued_from_a_file_keeps_the_best_of_equals(tmp_path: Path) -> None:
    """It is stopped after its best epoch, and the rest reaches the same accuracy at a higher loss."""
    phase, train, val = tiny_phase(epochs=12, lr=5e-2), tiny_split(24, seed=1), tiny_split(30, seed=2)
    whole, rest = tiny_network(), tiny_network()

    def keep_the_best(state: Checkpoint) -> None:
        if state.best_epoch == state.epoch:
            save_checkpoint(tmp_path, state)

    uninterrupted = Checkpoint(recipe={}, data="")
    run_phase(Learner(whole, phase, train, val), phase, 0, uninterrupted, Watch(keep_the_best, quiet()))
    state = load_checkpoint(tmp_path)
    best = uninterrupted.best_epoch
    assert state.epoch == best
    assert uninterrupted.best_accuracy in [row.val_accuracy for row in uninterrupted.history[best + 1 :]]
    rest.load_state_dict(state.network)
    run_phase(Learner(rest, phase, train, val), phase, 0, state, Watch(lambda _: None, quiet()))
    assert (state.best_epoch, state.best_loss) == (best, uninterrupted.best_loss)
    assert all(torch.equal(tensor, rest.state_dict()[name]) for name, tensor in whole.state_dict().items())


@pytest.mark.parametrize("ema_decay", [0.0, 0.5])
def test_the_last_epoch_is_kept_though_the_kill_came_right_after_it(tmp_path: Path, ema_decay: float) -> None:
    phase = tiny_phase("all", epochs=3, ema_decay=ema_decay).model_copy(update={"keep": "last"})
    train, val = tiny_split(24, seed=1), tiny_split(30, seed=2)
    whole, rest = tiny_network(), tiny_network()

    def save(state: Checkpoint) -> None:
        save_checkpoint(tmp_path, state)

    run_phase(Learner(whole, phase, train, val), phase, 0, Checkpoint({}, ""), Watch(save, quiet()))
    state = load_checkpoint(tmp_path)
    assert state.epoch == 3
    rest.load_state_dict(state.network)
    run_phase(Learner(rest, phase, train, val), phase, 0, state, Watch(save, quiet()))
    assert all(torch.equal(tensor, rest.state_dict()[name]) for name, tensor in whole.state_dict().items())


def test_a_full_disk_keeps_the_checkpoint_before(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, Checkpoint(recipe={}, data="", epoch=1))
    (tmp_path / STAGING_FILE).symlink_to("/dev/full")
    with pytest.raises(DiskFull, match=r"No space left on device\): free some and continue with --resume"):
        save_checkpoint(tmp_path, Checkpoint(recipe={}, data="", epoch=2, network={"w": torch.rand(1_000_000)}))
    assert [path.name for path in tmp_path.iterdir()] == [RESUME_FILE]
    assert load_checkpoint(tmp_path).epoch == 1


class Malice:
    """Runs a command when unpickled by a reader that trusts."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("kind", ["missing", "empty", "text", "cut", "list", "strange", "malicious"])
def test_a_checkpoint_that_cannot_be_read_is_one_sentence(tmp_path: Path, kind: str) -> None:
    path, touched = tmp_path / RESUME_FILE, tmp_path / "touched"
    save_checkpoint(tmp_path, Checkpoint(recipe={}, data="", network={"w": torch.rand(1000)}))
    whole = path.read_bytes()
    path.unlink()
    if kind == "list":
        torch.save([1, 2], path)
    elif kind == "strange":
        torch.save({"history": [], "recipe": {}, "data": "", "nonsense": 1}, path)
    elif kind == "malicious":
        path.write_bytes(pickle.dumps(Malice(touched), protocol=2))
    elif kind != "missing":
        path.write_bytes({"empty": b"", "text": b"hello there", "cut": whole[: len(whole) // 2]}[kind])
    with pytest.raises(InvalidRun) as caught:
        load_checkpoint(tmp_path)
    assert str(caught.value).startswith(f"{path} cannot be read as part of a run (")
    assert "\n" not in str(caught.value)
    assert not touched.exists()


def test_history_is_a_table_with_empty_cells_for_what_is_not_known(tmp_path: Path) -> None:
    write_history(tmp_path, ROWS[:1])
    write_history(tmp_path, ROWS)
    with (tmp_path / HISTORY_FILE).open(newline="") as file:
        first, second = csv.DictReader(file)
    assert (first["phase"], first["epoch"], first["train_loss"], first["lr"]) == ("a", "0", "", "")
    assert (second["train_loss"], second["lr"], second["val_accuracy"]) == ("1.0", "0.1", "0.5")
    assert [path.name for path in tmp_path.iterdir()] == [HISTORY_FILE]
