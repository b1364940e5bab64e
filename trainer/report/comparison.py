"""Hold finished runs against each other: what each reached, how long it took, and how large and fast it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from trainer.disk import replace_file
from trainer.evaluation import Evaluation, has_evaluation, read_evaluation
from trainer.history import Epoch, read_history
from trainer.metrics import wilson_interval
from trainer.report.charts import to_png
from trainer.report.comparison_charts import Entry, draw_accuracies, draw_progress, draw_trades
from trainer.report.page import Block, Notice, Page, Picture, Section, Table, Text
from trainer.report.render import FULL_DISK_ADVICE, render_html
from trainer.report.wording import amount, duration, percent
from trainer.run import WEIGHTS_FILE, RunRecord, read_run

FROM_SCRATCH = "scratch"


@dataclass(frozen=True)
class Contender:
    """One finished run; what it never measured is None."""

    name: str
    record: RunRecord
    history: list[Epoch]
    evaluation: Evaluation | None
    size_bytes: int  # of the weights

    @property
    def start(self) -> str:
        """Return what the network started from: a name of weights, or 'scratch'."""
        weights = self.record.recipe.network.weights
        if weights in ("none", "imagenet"):
            return FROM_SCRATCH if weights == "none" else "ImageNet"
        return Path(weights).stem


def gather_contenders(directories: Sequence[Path]) -> list[Contender]:
    """Read finished runs, the most accurate first. Raises `RunNotFound` or `InvalidRun`."""
    records = [read_run(directory) for directory in directories]
    taken = Counter(record.name for record in records)
    contenders = [
        Contender(
            name=record.name if taken[record.name] == 1 else str(directory),
            record=record,
            history=read_history(directory),
            evaluation=read_evaluation(directory).evaluation if has_evaluation(directory) else None,
            size_bytes=(directory / WEIGHTS_FILE).stat().st_size,
        )
        for directory, record in zip(directories, records, strict=True)
    ]
    return sorted(contenders, key=lambda one: -one.record.metrics["test"].accuracy)


def comparison_table(contenders: Sequence[Contender]) -> Table:
    """Return one row for each run, in the order given; what was not measured is empty."""
    header = (
        "Run", "Backbone", "Start", "Images", "Test accuracy", "95 % interval", "Macro F1", "ECE", "Parameters",
        "Weights", "FLOPs", "Training", "Images/s",
    )  # fmt: skip
    return Table(header, [_row(one) for one in contenders], left=3)


def _row(one: Contender) -> tuple[str, ...]:
    record, evaluation, test = one.record, one.evaluation, one.record.metrics["test"]
    low, high = wilson_interval(test.correct, test.n)
    return (
        one.name,
        record.backbone,
        one.start,
        f"{record.split_sizes['train']:,}",
        percent(test.accuracy),
        f"{100 * low:.2f} to {100 * high:.2f}",
        f"{evaluation.test.macro.f1:.4f}" if evaluation else "",
        f"{evaluation.test.calibration_error:.4f}" if evaluation else "",
        amount(evaluation.cost.parameters) if evaluation else "",
        f"{amount(one.size_bytes)}B",
        amount(evaluation.cost.flops) if evaluation else "",
        duration(record.seconds),
        f"{evaluation.test.images_per_s:,.0f}" if evaluation else "",
    )


def write_comparison(contenders: Sequence[Contender], path: Path) -> None:
    """Write the table and its plots as one self-contained HTML file."""
    replace_file(path, render_html(comparison_page(contenders)).encode(), FULL_DISK_ADVICE)


def comparison_page(contenders: Sequence[Contender]) -> Page:
    """Compose the page."""
    notices: list[Block] = [Notice(sentence) for sentence in reservations(contenders)]
    entries = [_entry(one) for one in contenders]
    measured = [entry for entry in entries if entry.flops and entry.images_per_s]
    plots: list[Block] = [
        Picture("accuracies", to_png(draw_accuracies(entries)), "Test accuracy with its 95 % Wilson interval."),
        Picture("progress", to_png(draw_progress(entries)), _PROGRESS),
    ]
    if measured:
        plots.append(Picture("trades", to_png(draw_trades(measured)), _TRADES))
    best = contenders[0]
    return Page(
        title=f"Comparison of {len(contenders)} runs" if len(contenders) > 1 else "Comparison of one run",
        subtitle=best.record.recipe.data.description or best.record.recipe.data.path.name,
        sections=[
            Section("Table", [*notices, comparison_table(contenders), Text(_COLUMNS), *_lead(contenders)]),
            Section("Plots", plots),
        ],
    )


_PROGRESS = (
    "Validation accuracy over the seconds of training and validation. Solid: from pretrained weights; dashed: from "
    "scratch."
)
_TRADES = (
    "Test accuracy against what it costs. Circles: from pretrained weights; squares: from scratch. Images/s are those "
    "of PyTorch at evaluation, on the device of each run."
)
_COLUMNS = (
    "Images are those of the training split; ECE is the expected calibration error over 15 bins; FLOPs are of one "
    "image, multiply and add counted apart; training includes validation; images/s are those of PyTorch at evaluation."
)


def _lead(contenders: Sequence[Contender]) -> list[Block]:
    """Say how far the best run from pretrained weights is ahead of the best from scratch, where there are both."""
    transferred = [one for one in contenders if one.start != FROM_SCRATCH]
    scratch = [one for one in contenders if one.start == FROM_SCRATCH]
    if not transferred or not scratch or not _share_a_test(contenders):
        return []
    first, second = transferred[0].record.metrics["test"], scratch[0].record.metrics["test"]
    points = 100 * (first.accuracy - second.accuracy)
    direction = "ahead of" if points > 0 else "behind"
    sentence = (
        f"Transfer against scratch: {transferred[0].name} ({percent(first.accuracy)}) is {abs(points):.2f} points "
        f"{direction} {scratch[0].name} ({percent(second.accuracy)})."
    )
    return [Text(sentence)]


def reservations(contenders: Sequence[Contender]) -> list[str]:
    """Say what forbids taking the numbers side by side."""
    records = [one.record for one in contenders]
    sentences = []
    if not _share_a_test(contenders):
        sentences.append("These runs were not tested on the same split: their accuracies are of different things.")
    elif len({record.data_fingerprint for record in records}) > 1:
        sentences.append("These runs did not have the same files, or not the same splits of them.")
    if len({record.device for record in records}) > 1:
        devices = ", ".join(dict.fromkeys(record.device for record in records))
        sentences.append(f"These runs were made on different devices ({devices}): times and images/s are of those.")
    unmeasured = [one.name for one in contenders if one.evaluation is None]
    if unmeasured:
        sentences.append(f"No evaluation.json, which `linnet report` makes: {', '.join(unmeasured)}.")
    return sentences


def _share_a_test(contenders: Sequence[Contender]) -> bool:
    return len({(one.record.classes, one.record.metrics["test"].n) for one in contenders}) == 1


def _entry(one: Contender) -> Entry:
    test = one.record.metrics["test"]
    evaluation = one.evaluation
    return Entry(
        name=one.name,
        is_pretrained=one.start != FROM_SCRATCH,
        accuracy=test.accuracy,
        interval=wilson_interval(test.correct, test.n),
        train_s=one.record.seconds,
        size_bytes=one.size_bytes,
        flops=evaluation.cost.flops if evaluation else None,
        images_per_s=evaluation.test.images_per_s if evaluation else None,
        elapsed_s=tuple(accumulate(row.seconds for row in one.history)),
        val_accuracy=tuple(row.val_accuracy for row in one.history),
    )
