"""Every figure keeps all its words inside its edges, with few classes, with many, and with long names."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from io import BytesIO
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from trainer.evaluation import Predictions, SplitEvaluation
from trainer.history import Epoch
from trainer.metrics import reliability, score_predictions
from trainer.rate_finder import Sweep
from trainer.report.charts import (
    draw_balance,
    draw_class_scores,
    draw_confusion,
    draw_curves,
    draw_reliability,
    draw_sweep,
    to_png,
)
from trainer.report.comparison_charts import Entry, draw_accuracies, draw_progress, draw_trades
from trainer.report.mosaic import Pixels, draw_captioned, draw_rows

PAGE_WIDTH = 1120  # pixels, of the page's text


def names(count: int) -> list[str]:
    return [f"class {number} with a long name" for number in range(count)]


def predictions(classes: int) -> Predictions:
    chance = np.random.default_rng(0)
    labels = chance.integers(0, classes, 300)
    logits = chance.normal(size=(300, classes)).astype(np.float32)
    logits[np.arange(300), labels] += 2
    return Predictions(logits, labels)


def evaluation(classes: int) -> SplitEvaluation:
    return score_predictions(predictions(classes), names(classes), seconds=1.0)


def history(epochs: int, phases: int) -> list[Epoch]:
    rows = []
    for phase in range(phases):
        for epoch in range(epochs + 1):
            trained = {"train_loss": 1 / (1 + epoch), "train_accuracy": 0.5, "lr": 1e-3, "images_per_s": 9.0}
            rows.append(
                Epoch(phase=f"phase{phase}", epoch=epoch, val_loss=1.0, val_accuracy=0.5, seconds=1.0,
                      **(trained if epoch else {}))
            )  # fmt: skip
    return rows


def entry(number: int) -> Entry:
    accuracy = 0.7 + 0.02 * number
    return Entry(
        name=f"a run with a long name {number}",
        is_pretrained=number % 2 == 0,
        accuracy=accuracy,
        interval=(accuracy - 0.01, accuracy + 0.01),
        train_s=10.0 ** (number % 4),
        size_bytes=9_000_000 * (number + 1),
        flops=10**8 * (number + 1),
        images_per_s=100.0 * (number + 1),
        elapsed_s=(1.0, 10.0, 100.0),
        val_accuracy=(0.2, 0.5, accuracy),
    )


def pictures(count: int) -> list[Pixels]:
    return [np.full((33, 33, 3), 7 * number % 256, dtype=np.uint8) for number in range(count)]


SWEEP = Sweep("head", np.geomspace(1e-7, 10, 60), np.linspace(2, 0.5, 60), np.linspace(2, 0.5, 60))

FIGURES: dict[str, Callable[[], Figure]] = {
    "curves of one epoch": lambda: draw_curves(history(1, 1)),
    "curves of many epochs": lambda: draw_curves(history(60, 3)),
    "sweep": lambda: draw_sweep(SWEEP),
    "reliability": lambda: draw_reliability(reliability(predictions(10))),
    "rows": lambda: draw_rows([pictures(8)] * 3, names(3), [f"column\n{number}" for number in range(8)]),
    "one row of one": lambda: draw_rows([pictures(1)], names(1)),
    "captioned": lambda: draw_captioned(
        pictures(18), ["a class with a long name\ncalled another\n0.9 against 0.1"] * 18
    ),
    "one captioned": lambda: draw_captioned(pictures(1), ["label"]),
    "accuracies": lambda: draw_accuracies([entry(number) for number in range(9)]),
    "one accuracy": lambda: draw_accuracies([entry(0)]),
    "progress": lambda: draw_progress([entry(number) for number in range(9)]),
    "trades": lambda: draw_trades([entry(number) for number in range(9)]),
}


def _confusion(classes: int) -> Figure:
    return draw_confusion(names(classes), evaluation(classes))


def _class_scores(classes: int) -> Figure:
    return draw_class_scores(evaluation(classes))


def _balance(classes: int) -> Figure:
    return draw_balance(names(classes), {split: [9] * classes for split in ("training", "validation", "test")})


FIGURES |= {
    f"{draw.__name__} of {classes}": partial(draw, classes)
    for draw in (_confusion, _class_scores, _balance)
    for classes in (2, 10, 100)
}


def test_words_above_columns_stay_apart() -> None:
    figure = draw_rows([pictures(8)] * 3, names(3), ["called class 3 with a long name\n0.93"] * 8)
    renderer: Any = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    figure.draw(renderer)
    boxes = [label.get_window_extent(renderer) for label in figure.axes[0].get_xticklabels()]
    assert len(boxes) == 8
    assert all(before.x1 < after.x0 for before, after in pairwise(boxes))


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_fits_the_page_and_cuts_no_word_off(name: str) -> None:
    figure = FIGURES[name]()
    with Image.open(BytesIO(to_png(figure))) as image:
        image.load()
        assert image.width <= PAGE_WIDTH
        assert image.height < 2500
        assert len(image.convert("RGB").getcolors(1 << 24) or []) > 4
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    drawn = [*figure.axes, *figure.legends]
    renderer = canvas.get_renderer()  # type: ignore[no-untyped-call]
    boxes = [box for artist in drawn if (box := artist.get_tightbbox(renderer)) is not None]
    assert boxes
    for box in boxes:
        assert box.x0 >= -1
        assert box.y0 >= -1
        assert box.x1 <= figure.bbox.x1 + 1
        assert box.y1 <= figure.bbox.y1 + 1


ODD_NAMES = ["$0_$50", "$5_to_$10", "a" * 200]


def test_class_names_are_text_and_leave_room() -> None:
    """A dollar begins no formula, and a long name is cut."""
    rows = draw_rows([pictures(8)] * 3, ODD_NAMES, ["called $5_to_$10\n0.93"] * 8)
    balance = draw_balance(ODD_NAMES, {split: [3, 4, 5] for split in ("training", "validation", "test")})
    for figure in (rows, balance):
        to_png(figure)
        first, _, last = figure.axes[0].get_yticklabels()
        assert first.get_text() == r"\$0_\$50"
        assert len(last.get_text()) == 32
