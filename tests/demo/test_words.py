"""What the page says, without the page."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

from demo import words
from linnet_client import FailedPrediction, ItemError, Metrics, Model, Prediction, Score, TimingMs

PREDICTION = Prediction(
    label="cat",
    confidence=0.904,
    uncertain=False,
    top=tuple(Score(label, p) for label, p in (("cat", 0.904), ("dog", 0.05), ("frog", 0.03), ("ship", 0.01))),
    model="cifar10",
    version="1",
    variant="int8",
    request_id="some-id",
    timing_ms=TimingMs(decode=1.4, queue=0.2, inference=2.1),
    filename="/tmp/uploads/a/cat.jpg",
)
FAILED = FailedPrediction(ItemError("unreadable_image", "It is damaged: save it again."), "/tmp/uploads/b/broken.jpg")
MODEL = Model(
    name="cifar10",
    version="1",
    default=True,
    state="ready",
    classes=("cat", "d_o|g*"),
    input_size=97,
    variant="int8",
    provider="CPUExecutionProvider",
    metrics=Metrics(
        accuracy=0.9,
        n=20,
        correct=18,
        loss=0.3,
        split="test",
        accuracy_low=0.699,
        accuracy_high=0.9721,
        confusion=((9, 1), (1, 9)),
    ),
)


def test_the_verdict_names_the_class_or_abstains() -> None:
    assert words.verdict(PREDICTION) == "The model says **cat** (90.4 %)."
    doubt = words.verdict(replace(PREDICTION, uncertain=True))
    assert doubt.startswith("The model abstains")
    assert "**cat** (90.4 %)" in doubt


def test_bars_are_the_three_most_probable() -> None:
    assert words.bars(PREDICTION) == {"cat": 0.904, "dog": 0.05, "frog": 0.03}


def test_the_footnote_adds_up() -> None:
    assert words.footnote(PREDICTION) == "cifar10, version 1, int8: 4 ms (1 decoding, 0 waiting, 2 in the network)"


def test_a_batch_is_a_table_and_a_csv_of_file_names() -> None:
    results: list[Prediction | FailedPrediction] = [
        PREDICTION,
        FAILED,
        replace(PREDICTION, uncertain=True, filename=None),
    ]
    assert [words.table_row(result) for result in results] == [
        ["cat.jpg", "cat", "90.4 %", ""],
        ["broken.jpg", "", "", "It is damaged: save it again."],
        ["", "cat", "90.4 %", "the model abstains"],
    ]
    assert list(csv.DictReader(io.StringIO(words.as_csv(results)))) == [
        {"file": "cat.jpg", "label": "cat", "confidence": "0.904", "uncertain": "false", "error": ""},
        {"file": "broken.jpg", "label": "", "confidence": "", "uncertain": "", "error": "unreadable_image"},
        {"file": "", "label": "cat", "confidence": "0.904", "uncertain": "true", "error": ""},
    ]
    assert [words.caption(result) for result in results if isinstance(result, Prediction)] == [
        "cat 90.4 %",
        "cat 90.4 % ?",
    ]
    table = words.results_table([replace(PREDICTION, label="<b>")])
    assert table.count("<td>") == len(words.COLUMNS)
    assert "&lt;b&gt;" in table


def test_a_model_is_described_with_what_it_scored() -> None:
    text = words.about(MODEL)
    assert "**90.00 %** of 20 test images are named correctly (18; 95 % confidence interval 69.90 to 97.21 %);" in text
    assert "d&#95;o&#124;g&#42;" in text
    assert MODEL.metrics is not None
    older = replace(MODEL, metrics=replace(MODEL.metrics, accuracy_low=None, accuracy_high=None))
    assert "named correctly (18);" in words.about(older)
    assert "correctly" not in words.about(replace(MODEL, metrics=None))
    assert words.model_choice(MODEL) == "cifar10, version 1 (default)"


def test_the_confusion_matrix_is_a_table() -> None:
    table = words.confusion_table(MODEL)
    assert table.count("<td style=") == 4
    assert table.count(">9</td>") == 2
    assert "scope='row'>cat<" in table
    assert "Images of the test split" in table
    bare = replace(MODEL, metrics=replace(MODEL.metrics, confusion=None)) if MODEL.metrics else MODEL
    assert words.confusion_table(bare) == "<p>The model states no confusion matrix.</p>"
