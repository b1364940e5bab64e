"""What the network scored, class by class, how far its confidence can be trusted, and where it is most wrong."""

from __future__ import annotations

import numpy as np

from trainer.evaluation import Evaluated, Evaluation, SplitEvaluation
from trainer.metrics import classification_report, probabilities_of, reliability
from trainer.report.charts import MOST_BARS, draw_class_scores, draw_confusion, draw_reliability, to_png
from trainer.report.images import as_pixels, load_pixels
from trainer.report.material import Absent, Material
from trainer.report.mosaic import draw_captioned
from trainer.report.page import Block, Code, Notice, Picture, Section, Table, Text
from trainer.report.wording import interval, percent

MISTAKES = 18


def results_section(material: Material) -> Section:
    """Show the metrics of the splits, and those of the test split by class."""
    record, evaluated = material.record, material.evaluated
    if isinstance(evaluated, Absent):
        rows = [(name, f"{m.n:,}", percent(m.accuracy), f"{m.loss:.4f}") for name, m in record.metrics.items()]
        return Section("Results", [Notice(evaluated.reason), Table(("Split", "Images", "Accuracy", "Loss"), rows)])
    test = evaluated.evaluation.test
    blocks: list[Block] = [_metrics_table(evaluated.evaluation), Text(_METRICS_NOTE)]
    if evaluated.evaluation.test_flip:
        blocks.append(Text(_FLIP_NOTE))
    stated = record.metrics["test"].correct
    if test.correct != stated:
        blocks.append(Notice(f"run.json counts {stated:,} correct test images, this evaluation {test.correct:,}."))
    blocks += [
        Picture(
            "confusion",
            to_png(draw_confusion(record.classes, test)),
            "Confusion matrix of the test split: how many images of each label (row) were called what (column).",
        ),
        Picture(
            "classes",
            to_png(draw_class_scores(test)),
            f"Precision, recall and F1 of {_bars(len(record.classes))} on the test split, the lowest F1 first.",
        ),
        Code(classification_report(evaluated.predictions["test"], record.classes)),
    ]
    return Section("Results", blocks)


def _bars(classes: int) -> str:
    return "each class" if classes <= MOST_BARS else f"the {MOST_BARS} classes of {classes} with the lowest F1"


_METRICS_NOTE = (
    "Accuracy stands with its 95 % Wilson interval, loss is the mean cross-entropy in nats, ECE the expected "
    "calibration error over 15 bins; precision, recall and F1 are unweighted means over the classes. Images/s are "
    "those of PyTorch on decoded images."
)
_FLIP_NOTE = (
    "The row with mirror images averages each image's probabilities with those of its mirror image: twice the work, "
    "and not what is served."
)


def _metrics_table(evaluation: Evaluation) -> Table:
    header = (
        "Split",
        "Images",
        "Accuracy",
        "95 % interval",
        "Top-5",
        "Loss",
        "ECE",
        "Precision",
        "Recall",
        "F1",
        "Images/s",
    )
    rows = [_metrics_row("validation", evaluation.val), _metrics_row("test", evaluation.test)]
    if evaluation.test_flip:
        rows.append(_metrics_row("test, with mirror images", evaluation.test_flip))
    kept = [column for column in range(len(header)) if any(row[column] for row in rows)]
    return Table([header[column] for column in kept], [[row[column] for column in kept] for row in rows])


def _metrics_row(name: str, split: SplitEvaluation) -> tuple[str, ...]:
    return (
        name,
        f"{split.n:,}",
        percent(split.accuracy),
        interval(split),
        "" if split.top5 is None else percent(split.top5),
        f"{split.loss:.4f}",
        f"{split.calibration_error:.4f}",
        f"{split.macro.precision:.4f}",
        f"{split.macro.recall:.4f}",
        f"{split.macro.f1:.4f}",
        f"{split.images_per_s:,.0f}",
    )


def confidence_section(evaluated: Evaluated) -> Section:
    """Show how often the network is right at each confidence."""
    bins = reliability(evaluated.predictions["test"])
    where = "above" if np.nansum(bins.counts * np.nan_to_num(bins.accuracy - bins.confidence)) > 0 else "below"
    caption = (
        "Reliability diagram of the test split: a bar on the dashed line is confidence that can be taken at its word. "
        f"On the whole the accuracy lies {where} the confidence."
    )
    return Section("Confidence", [Picture("reliability", to_png(draw_reliability(bins)), caption)])


def mistakes_section(material: Material, evaluated: Evaluated) -> Section:
    """Show the test images that the network is most confidently wrong about."""
    record, predictions = material.record, evaluated.predictions["test"]
    probabilities = probabilities_of(predictions)
    predicted, confidence = probabilities.argmax(1), probabilities.max(1)
    (wrong,) = np.nonzero(predicted != predictions.labels)
    if not len(wrong):
        return Section("Mistakes", [Text("The network made no mistake on the test split.")])
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:MISTAKES].tolist()
    rows = [
        (record.classes[predictions.labels[i]], record.classes[predicted[i]], f"{confidence[i]:.3f}",
         f"{probabilities[i, predictions.labels[i]]:.3f}")
        for i in worst
    ]  # fmt: skip
    if isinstance(material.dataset, Absent):
        header = ("Label", "Predicted", "Its probability", "That of the label")
        notice = Notice(f"The pictures cannot be shown. {material.dataset.reason}")
        return Section("Mistakes", [notice, Table(header, rows, left=2)])
    images = as_pixels(load_pixels(material.dataset.test, worst, record.preprocess))
    captions = [f"{label}\ncalled {called}\n{sure} against {right}" for label, called, sure, right in rows]
    caption = (
        f"The {len(worst)} most confident of {len(wrong):,} mistakes on the test split: the label, what the network "
        "called it, and its probabilities of the two. Some of these labels may be the mistake."
    )
    return Section("Mistakes", [Picture("mistakes", to_png(draw_captioned(images, captions)), caption)])
