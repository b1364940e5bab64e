"""Draw runs against each other; a run has one colour in every picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from trainer.report.charts import WIDTH, chart_text

LEGEND_COLUMNS = 4
DECADE = 10  # a range below it has too few powers of ten for a logarithmic axis


@dataclass(frozen=True)
class Entry:
    """What is drawn of a run; what it never measured is None."""

    name: str
    is_pretrained: bool
    accuracy: float
    interval: tuple[float, float]  # of the accuracy, 95 %
    train_s: float
    size_bytes: int
    flops: int | None
    images_per_s: float | None
    elapsed_s: tuple[float, ...]  # at the end of each epoch
    val_accuracy: tuple[float, ...]


def draw_accuracies(entries: Sequence[Entry]) -> Figure:
    """Draw each run's test accuracy with its interval, in the order given."""
    figure = Figure(figsize=(WIDTH, 1.1 + 0.42 * len(entries)), layout="constrained")
    axes = figure.subplots()
    for place, entry in enumerate(entries):
        colour = _colour(place)
        _mark(axes, entry.accuracy, place, entry, colour, along="x")
        words = f"  {100 * entry.accuracy:.2f} %"
        axes.text(entry.interval[1], place, words, va="center", ha="left", fontsize=9, color=colour)
    axes.set_yticks(range(len(entries)), [chart_text(entry.name) for entry in entries], fontsize=9)
    axes.set_ylim(len(entries) - 0.4, -0.6)
    axes.margins(x=0.12)
    _in_percent(axes, "x")
    axes.set_xlabel("test accuracy (circle: pretrained, square: from scratch)")
    axes.grid(alpha=0.3)
    return figure


def draw_progress(entries: Sequence[Entry]) -> Figure:
    """Draw validation accuracy over the seconds of training."""
    figure = Figure(figsize=(WIDTH, 4.8), layout="constrained")
    axes = figure.subplots()
    for place, entry in enumerate(entries):
        style = "-" if entry.is_pretrained else "--"
        axes.plot(
            entry.elapsed_s,
            entry.val_accuracy,
            style,
            color=_colour(place),
            label=chart_text(entry.name),
            linewidth=1.6,
        )
    axes.set_xscale("symlog", linthresh=1.0)
    axes.set_xlim(left=0)
    axes.set_xlabel("seconds of training and validation (logarithmic from 1 s)")
    _in_percent(axes, "y")
    axes.set_ylabel("validation accuracy")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=LEGEND_COLUMNS, fontsize=9)
    return figure


def draw_trades(entries: Sequence[Entry]) -> Figure:
    """Draw test accuracy against training time, size of the weights, work for an image, and speed."""
    figure = Figure(figsize=(WIDTH, 7.6), layout="constrained")
    panels: list[tuple[str, Callable[[Entry], float]]] = [
        ("training and validation, seconds", lambda entry: entry.train_s),
        ("weights, MB", lambda entry: entry.size_bytes / 1e6),
        ("work for one image, MFLOPs", lambda entry: (entry.flops or 0) / 1e6),
        ("speed at evaluation, images/s", lambda entry: entry.images_per_s or 0.0),
    ]
    for axes, (label, measure) in zip(figure.subplots(2, 2, sharey=True).flat, panels, strict=True):
        for place, entry in enumerate(entries):
            _mark(axes, measure(entry), entry.accuracy, entry, _colour(place), along="y")
        values = [measure(entry) for entry in entries]
        if max(values) > DECADE * min(values):
            axes.set_xscale("log")
            axes.margins(x=0.15, y=0.1)
        else:
            axes.margins(y=0.1)
            axes.set_xlim(0, 1.15 * max(values))
        axes.set_xlabel(label)
        axes.grid(alpha=0.3, which="both")
        _in_percent(axes, "y")
    figure.supylabel("test accuracy", fontsize=10)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=LEGEND_COLUMNS, fontsize=9)
    return figure


def _mark(axes: Axes, x: float, y: float, entry: Entry, colour: str, *, along: str) -> None:  # noqa: PLR0913
    """Draw one point with the interval of its accuracy `along` an axis."""
    low, high = entry.interval
    reach = [[entry.accuracy - low], [high - entry.accuracy]]
    axes.errorbar(
        x,
        y,
        xerr=reach if along == "x" else None,
        yerr=reach if along == "y" else None,
        fmt="o" if entry.is_pretrained else "s",
        color=colour,
        capsize=3,
        label=chart_text(entry.name),
    )


def _in_percent(axes: Axes, which: str) -> None:
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))


def _colour(place: int) -> str:
    palette = mpl.colormaps["tab10"]
    return mpl.colors.to_hex(palette(place % palette.N))
