"""Draw numbers: each function returns a figure that says by itself what it shows.

Figures are made without pyplot, whose global state would tie them to the program around them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from io import BytesIO

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from trainer.evaluation import SplitEvaluation
from trainer.history import Epoch
from trainer.metrics import Reliability
from trainer.rate_finder import Sweep

DPI = 110
WIDTH = 10.0  # inches, of a figure that fills the page
BLUE, ORANGE, GREEN, GREY = "#1f6f8b", "#e07b39", "#5a9e5d", "#8a94a0"

# Above these, a label per class would be unreadable.
MOST_NUMBERED_CLASSES = 20
MOST_LABELLED_CLASSES = 60
MOST_BARS = 40
LONGEST_NAME = 32  # characters; longer ones would leave no room for what they name

RATE_SPAN = 200  # how far below the lowest peak learning rates are drawn


def chart_text(name: str) -> str:
    """Return a name as a chart can show it: matplotlib would set what stands between two dollars as mathematics.

    A long one is cut in its middle, for names of one kind differ at their ends.
    """
    half = LONGEST_NAME // 2
    shown = name if len(name) <= LONGEST_NAME else f"{name[: half - 1]}…{name[-half:]}"
    return shown.replace("$", r"\$")


def to_png(figure: Figure) -> bytes:
    """Return the figure as PNG bytes."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()


def draw_curves(history: Sequence[Epoch]) -> Figure:
    """Draw loss, accuracy and learning rate over the epochs of all phases, phases set apart by lines."""
    figure = Figure(figsize=(WIDTH, 8.6), layout="constrained")
    loss, accuracy, rate = figure.subplots(3, 1, sharex=True, height_ratios=(3, 3, 2))
    position = list(range(len(history)))
    _draw_pair(loss, history, "train_loss", "val_loss")
    loss.set_ylabel("loss (cross-entropy, nats)")
    _draw_pair(accuracy, history, "train_accuracy", "val_accuracy")
    accuracy.set_ylabel("accuracy")
    rates = [row.lr or math.nan for row in history]
    if not all(math.isnan(value) for value in rates):
        rate.plot(rates, "o-", markersize=3, color=GREEN)
        rate.set_yscale("log")
        # A schedule ends a hair above zero, which would stretch the axis over ten powers of ten.
        rate.set_ylim(bottom=_least_peak(history) / RATE_SPAN)
    rate.set_ylabel("learning rate\n(end of the epoch)")
    step = max(1, len(history) // 30)
    rate.set_xticks(position[::step], [str(row.epoch) for row in history][::step], fontsize=8)
    rate.set_xlabel("epoch of the phase (0: before it)")
    for axes in (loss, accuracy, rate):
        axes.grid(alpha=0.3)
        for x in (x for x in position if history[x].epoch == 0):
            axes.axvline(x, color=GREY, linewidth=0.9, linestyle=":")
    for x in (x for x in position if history[x].epoch == 0):
        words = f" {chart_text(history[x].phase)}"
        loss.text(x, 1.02, words, transform=loss.get_xaxis_transform(), fontsize=9, color="#444444")
    return figure


def _least_peak(history: Sequence[Epoch]) -> float:
    """Return the smallest of the phases' highest learning rates."""
    peaks: dict[str, float] = {}
    for row in history:
        if row.lr:
            peaks[row.phase] = max(row.lr, peaks.get(row.phase, 0.0))
    return min(peaks.values())


def _draw_pair(axes: Axes, history: Sequence[Epoch], train: str, val: str) -> None:
    trained = [math.nan if getattr(row, train) is None else getattr(row, train) for row in history]
    axes.plot(trained, "o-", markersize=3, color=ORANGE, label="training (as augmented)")
    axes.plot([getattr(row, val) for row in history], "o-", markersize=3, color=BLUE, label="validation")
    axes.legend(fontsize=9)


def draw_sweep(sweep: Sweep) -> Figure:
    """Draw the losses of a sweep over its learning rates, with the suggestion marked."""
    figure = Figure(figsize=(WIDTH, 4.8), layout="constrained")
    axes = figure.subplots()
    axes.plot(sweep.rates, sweep.losses, ".", color=GREY, markersize=4, label="loss of each batch")
    axes.plot(sweep.rates, sweep.smoothed, color=BLUE, linewidth=2, label="smoothed")
    for rate, colour, label in (
        (sweep.steepest, ORANGE, f"falls fastest: {sweep.steepest:.2g}"),
        (sweep.at_minimum, GREEN, f"lowest: {sweep.at_minimum:.2g}"),
    ):
        axes.axvline(rate, color=colour, linestyle="--", label=label)
    axes.set_xscale("log")
    # A sweep ends in an explosion, which would flatten everything before it.
    axes.set_ylim(max(0.0, 0.9 * sweep.smoothed.min()), 1.3 * max(sweep.smoothed[0], sweep.losses[0]))
    axes.set_xlabel("learning rate")
    axes.set_ylabel("loss (nats)")
    axes.set_title(f"phase {chart_text(sweep.phase)}", fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=9)
    return figure


def draw_balance(classes: Sequence[str], counts: Mapping[str, Sequence[int]]) -> Figure:
    """Draw how many images of each class each split has; `counts` maps a split to its images by class."""
    shown = list(range(len(classes)))[:MOST_LABELLED_CLASSES]
    figure = Figure(figsize=(WIDTH, 1.3 + 0.28 * len(shown)), layout="constrained")
    axes = figure.subplots()
    left = np.zeros(len(shown))
    for (split, numbers), colour in zip(counts.items(), (BLUE, ORANGE, GREEN), strict=True):
        widths = np.array([numbers[index] for index in shown])
        axes.barh(range(len(shown)), widths, left=left, color=colour, label=split)
        left += widths
    for row, total in enumerate(left):
        axes.text(total, row, f" {total:,.0f}", va="center", fontsize=8)
    axes.set_yticks(range(len(shown)), [chart_text(classes[index]) for index in shown], fontsize=9)
    axes.invert_yaxis()
    axes.margins(x=0.08)
    axes.set_xlabel("images")
    figure.legend(loc="outside upper right", ncols=3, fontsize=9)
    return figure


def draw_confusion(classes: Sequence[str], evaluation: SplitEvaluation) -> Figure:
    """Draw the confusion matrix, each row as shares of its label; few classes leave room for the numbers."""
    matrix = np.array(evaluation.confusion)
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    side = float(np.clip(2.6 + 0.55 * len(classes), 4.5, WIDTH - 0.8))
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, label="share of the label's images", shrink=0.8)
    if len(classes) <= MOST_NUMBERED_CLASSES:
        for row, column in np.ndindex(matrix.shape):
            if matrix[row, column]:
                colour = "white" if shares[row, column] > 0.5 else "black"
                axes.text(column, row, f"{matrix[row, column]}", ha="center", va="center", fontsize=8, color=colour)
    if len(classes) <= MOST_LABELLED_CLASSES:
        size, names = 9 if len(classes) <= MOST_NUMBERED_CLASSES else 6, [chart_text(name) for name in classes]
        axes.set_xticks(range(len(classes)), names, rotation=45, ha="right", rotation_mode="anchor", fontsize=size)
        axes.set_yticks(range(len(classes)), names, fontsize=size)
    axes.set_xlabel("predicted")
    axes.set_ylabel("label")
    return figure


def draw_class_scores(evaluation: SplitEvaluation) -> Figure:
    """Draw precision, recall and F1 of each class, the lowest F1 on top; of many classes, the lowest ones."""
    rows = sorted(evaluation.per_class, key=lambda score: score.f1)[:MOST_BARS]
    figure = Figure(figsize=(WIDTH, 1.3 + 0.42 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for number, (name, colour) in enumerate((("precision", ORANGE), ("recall", GREEN), ("f1", BLUE))):
        values = [getattr(row, name) for row in rows]
        places = np.arange(len(rows)) + (number - 1) * 0.27
        axes.barh(places, values, 0.25, color=colour, label={"f1": "F1"}.get(name, name))
    for place, row in enumerate(rows):
        axes.text(row.f1 + 0.005, place + 0.27, f"{row.f1:.3f}", va="center", fontsize=7.5)
    axes.set_yticks(range(len(rows)), [chart_text(row.name) for row in rows], fontsize=9)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.06)
    axes.set_xticks(np.linspace(0, 1, 11))
    axes.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside upper right", ncols=3, fontsize=9)
    return figure


def draw_reliability(bins: Reliability) -> Figure:
    """Draw accuracy against confidence, and below how many images have each confidence."""
    figure = Figure(figsize=(6.4, 6.6), layout="constrained")
    accuracy, counts = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    width = bins.edges[1] - bins.edges[0]
    centres = bins.edges[:-1] + width / 2
    accuracy.plot([0, 1], [0, 1], "--", color=GREY, label="confidence = accuracy")
    accuracy.bar(centres, np.nan_to_num(bins.accuracy), width * 0.94, color=BLUE, label="accuracy of the bin")
    accuracy.plot(bins.confidence, bins.accuracy, "o", color=ORANGE, markersize=4, label="at its mean confidence")
    accuracy.set_ylabel("accuracy")
    accuracy.set_ylim(0, 1.02)
    accuracy.set_xlim(0, 1)
    accuracy.legend(fontsize=9, loc="upper left")
    accuracy.set_title(f"expected calibration error {bins.calibration_error:.4f}", fontsize=10)
    counts.bar(centres, bins.counts, width * 0.94, color=GREY)
    counts.set_ylabel("images")
    counts.set_xlabel("confidence (probability of the predicted class)")
    for axes in (accuracy, counts):
        axes.grid(alpha=0.3)
    return figure
