"""`linnet lr-find` prints a rate, draws why, and leaves no plot where there is no rate."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tests.cli.conftest import Linnet


def test_the_result_is_a_rate_and_a_plot(linnet: Linnet, recipe_file: Path, tmp_path: Path) -> None:
    plot = tmp_path / "sweep.png"
    answer = linnet("lr-find", recipe_file, "--output", plot)
    assert answer.code == 0
    assert 1e-6 < float(answer.out) < 10
    assert f"phase head: the loss falls fastest at {answer.out.strip()} and is lowest at" in answer.err
    with Image.open(plot) as image:
        image.load()
        assert image.width > 800
    assert list(tmp_path.iterdir()) == [plot]


@pytest.mark.parametrize(
    ("options", "code", "sentence"),
    [
        (("--phase", "neck"), 2, "The recipe has no phase 'neck': choose one of head, tail."),
        (("--set", "data.path={tmp}/none"), 1, "There is no data at {tmp}/none: set data.path to a folder"),
        (("--set", "phase.head.batch_size=1"), 2, "The recipe"),
        (("--output", "{tmp}/none/sweep.png"), 2, "There is no folder for the plot at {tmp}/none: check the path."),
    ],
)
def test_a_mistake_is_one_sentence(  # noqa: PLR0913
    *, linnet: Linnet, recipe_file: Path, tmp_path: Path, options: tuple[str, ...], code: int, sentence: str
) -> None:
    told = [option.format(tmp=tmp_path) for option in options]
    answer = linnet("lr-find", recipe_file, "--output", tmp_path / "sweep.png", *told)
    assert answer.complaint.startswith(sentence.format(tmp=tmp_path))
    assert answer.code == code
    assert not list(tmp_path.iterdir())


def test_where_the_loss_only_rises_there_is_no_plot(linnet: Linnet, recipe_file: Path, tmp_path: Path) -> None:
    """Backwards: a head whose rate ratio makes the backbone explode at once."""
    answer = linnet(
        "lr-find", recipe_file, "--phase", "tail", "--output", tmp_path / "sweep.png", "--set",
        "phase.tail.optim.backbone_lr_scale=1e30",
    )  # fmt: skip
    assert answer.complaint.startswith("The loss of phase 'tail' fell at no learning rate from 1e-07 to")
    assert answer.code == 1
    assert not list(tmp_path.iterdir())
