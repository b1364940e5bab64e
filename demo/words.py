"""What the page says of answers and models. Must not import gradio, so that it can be tested without it."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Sequence
from pathlib import Path

from linnet_client import FailedPrediction, Metrics, Model, Prediction

SHOWN_CLASSES = 3
COLUMNS = ("file", "class", "confidence", "remark")
CSV_COLUMNS = ("file", "label", "confidence", "uncertain", "error")


def bars(prediction: Prediction) -> dict[str, float]:
    """Return the most probable classes and their probabilities."""
    return {score.label: score.probability for score in prediction.top[:SHOWN_CLASSES]}


def verdict(prediction: Prediction) -> str:
    """Say in one sentence what the model makes of the image."""
    guess = f"**{_escaped(prediction.label)}** ({percent(prediction.confidence)})"
    if prediction.uncertain:
        return f"The model abstains: this image is unlike those it knows. Its best guess would be {guess}."
    return f"The model says {guess}."


def footnote(prediction: Prediction) -> str:
    """Say which file answered and how long it took."""
    timing = prediction.timing_ms
    total_ms = timing.decode + timing.queue + timing.inference
    return (
        f"{prediction.model}, version {prediction.version}, {prediction.variant}: {total_ms:.0f} ms "
        f"({timing.decode:.0f} decoding, {timing.queue:.0f} waiting, {timing.inference:.0f} in the network)"
    )


def caption(result: Prediction) -> str:
    """Return a few words to stand under an image."""
    return f"{result.label} {percent(result.confidence)}{' ?' if result.uncertain else ''}"


def table_row(result: Prediction | FailedPrediction) -> list[str]:
    """Return the cells of `COLUMNS`."""
    name = Path(result.filename or "").name
    if isinstance(result, FailedPrediction):
        return [name, "", "", result.error.detail]
    return [name, result.label, percent(result.confidence), "the model abstains" if result.uncertain else ""]


def results_table(results: Sequence[Prediction | FailedPrediction]) -> str:
    """Return the results as an HTML table that wraps its cells, so that it fits a phone."""
    head = "".join(f"<th scope='col'>{name}</th>" for name in COLUMNS)
    rows = "".join(
        f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in table_row(result))}</tr>" for result in results
    )
    return f"<table class='results'><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def as_csv(results: Sequence[Prediction | FailedPrediction]) -> str:
    """Return the results as a CSV with a header, `CSV_COLUMNS`."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(CSV_COLUMNS)
    for result in results:
        name = Path(result.filename or "").name
        if isinstance(result, FailedPrediction):
            writer.writerow([name, "", "", "", result.error.code])
        else:
            writer.writerow([name, result.label, result.confidence, str(result.uncertain).lower(), ""])
    return text.getvalue()


def model_choice(model: Model) -> str:
    """Return how a model is called where one is chosen."""
    return f"{model.name}, version {model.version}{' (default)' if model.default else ''}"


def about(model: Model) -> str:
    """Describe a model in Markdown: what it knows, how well, and what runs it."""
    lines = [f"## {_escaped(model.name)}, version {model.version}", ""]
    if model.metrics is not None:
        metrics = model.metrics
        measured = (
            f"**{100 * metrics.accuracy:.2f} %** of {metrics.n:,} {metrics.split} images are named correctly "
            f"({metrics.correct:,}{_interval(metrics)}); mean cross-entropy {metrics.loss:.3f} nats. Measured on the "
            "very file that answers here."
        )
        lines += [measured, ""]
    lines += [
        "| | |",
        "|---|---|",
        f"| classes | {_escaped(', '.join(model.classes or ()))} |",
        f"| input | {model.input_size} by {model.input_size} pixels |",
        f"| variant | {model.variant} |",
        f"| runs on | {model.provider} |",
    ]
    return "\n".join(lines)


def _interval(metrics: Metrics) -> str:
    if metrics.accuracy_low is None or metrics.accuracy_high is None:
        return ""
    return f"; 95 % confidence interval {100 * metrics.accuracy_low:.2f} to {100 * metrics.accuracy_high:.2f} %"


def confusion_table(model: Model) -> str:
    """Return the confusion matrix as an HTML table: rows are labels, columns answers, darker is more."""
    metrics = model.metrics
    if metrics is None or metrics.confusion is None or model.classes is None:
        return "<p>The model states no confusion matrix.</p>"
    names = [html.escape(name) for name in model.classes]
    head = "".join(f"<th scope='col'>{name}</th>" for name in names)
    rows = "".join(
        f"<tr><th scope='row'>{name}</th>{''.join(_cell(count, sum(row)) for count in row)}</tr>"
        for name, row in zip(names, metrics.confusion, strict=True)
    )
    return (
        f"<figure class='confusion'><figcaption>Images of the {html.escape(metrics.split)} split by label (rows) and "
        "answer (columns)</figcaption>"
        f"<table><thead><tr><td></td>{head}</tr></thead><tbody>{rows}</tbody></table></figure>"
    )


def _cell(count: int, total: int) -> str:
    share = count / total if total else 0.0
    # A square root, so that rare confusions are still seen beside the diagonal.
    return f"<td style='--share: {share**0.5:.3f}'>{count or ''}</td>"


def percent(probability: float) -> str:
    """Return a probability for people."""
    return f"{100 * probability:.1f} %"


def _escaped(text: str) -> str:
    return html.escape(text).replace("|", "&#124;").replace("*", "&#42;").replace("_", "&#95;")
