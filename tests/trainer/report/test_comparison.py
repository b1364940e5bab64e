"""Runs side by side: the table states what each record states, and what forbids comparing is said."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.report.test_report import Reader
from trainer.errors import RunNotFound
from trainer.evaluation import EVALUATION_FILE
from trainer.report.comparison import (
    comparison_page,
    comparison_table,
    gather_contenders,
    reservations,
    write_comparison,
)
from trainer.run import RUN_FILE, read_run


def altered(run_dir: Path, directory: Path, **changes: Any) -> Path:
    """Copy a run and change its record."""
    shutil.copytree(run_dir, directory)
    record = json.loads((directory / RUN_FILE).read_text())
    weights = changes.pop("weights", None)
    if weights is not None:
        record["recipe"]["network"]["weights"] = weights
    (directory / RUN_FILE).write_text(json.dumps(record | changes))
    return directory


@pytest.fixture
def scratch_run(run_dir: Path, tmp_path: Path) -> Path:
    """A run from scratch that reached less."""
    metrics = json.loads((run_dir / RUN_FILE).read_text())["metrics"]
    metrics["test"] |= {"correct": 6, "accuracy": 6 / 18}
    return altered(run_dir, tmp_path / "scratch", name="plain", weights="none", metrics=metrics)


def test_the_table_states_the_records_the_best_first(run_dir: Path, scratch_run: Path) -> None:
    table = comparison_table(gather_contenders([scratch_run, run_dir]))
    columns = {name: [row[place] for row in table.rows] for place, name in enumerate(table.header)}
    assert columns["Run"] == ["colours", "plain"]
    assert columns["Start"] == ["mobilenet_v2", "scratch"]
    test = read_run(run_dir).metrics["test"]
    assert columns["Test accuracy"] == [f"{100 * test.accuracy:.2f} %", "33.33 %"]
    assert columns["95 % interval"][1] == "16.28 to 56.25"
    assert columns["Images"] == ["27", "27"]
    assert columns["Parameters"][0] == "2.23 M"
    assert columns["Weights"][0] == "9.08 MB"


def test_runs_of_one_name_are_told_apart_by_their_folders(run_dir: Path, tmp_path: Path) -> None:
    twin = altered(run_dir, tmp_path / "twin")
    names = {one.name for one in gather_contenders([run_dir, twin])}
    assert names == {str(run_dir), str(twin)}


def test_the_page_shows_plots_and_how_far_transfer_is_ahead(run_dir: Path, scratch_run: Path, tmp_path: Path) -> None:
    contenders = gather_contenders([run_dir, scratch_run])
    write_comparison(contenders, tmp_path / "page.html")
    reader = Reader((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert reader.headings == ["Table", "Plots"]
    assert {picture.name for picture in comparison_page(contenders).pictures} == {"accuracies", "progress", "trades"}
    assert len([link for link in reader.links if link.startswith("data:image/png")]) == 3
    assert all(link.startswith(("data:", "#")) for link in reader.links)
    lead = r"Transfer against scratch: colours \(.*\) is \d+\.\d\d points ahead of plain \(33\.33 %\)\."
    assert re.search(lead, reader.words)
    assert {path.name for path in tmp_path.iterdir()} == {"page.html", "scratch"}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"data_fingerprint": "0" * 64}, "These runs did not have the same files"),
        ({"device": "another"}, r"These runs were made on different devices \(.*, another\)"),
        ({"classes": ["a", "b", "c"]}, "These runs were not tested on the same split"),
    ],
)
def test_what_forbids_comparing_is_said(run_dir: Path, tmp_path: Path, changes: dict[str, Any], sentence: str) -> None:
    assert reservations(gather_contenders([run_dir])) == []
    (said,) = reservations(gather_contenders([run_dir, altered(run_dir, tmp_path / "other", **changes)]))
    assert re.match(sentence, said)


def test_a_run_without_evaluation_is_compared_by_its_record(run_dir: Path, tmp_path: Path) -> None:
    other = altered(run_dir, tmp_path / "other", name="bare")
    (other / EVALUATION_FILE).unlink()
    contenders = gather_contenders([other])
    (row,) = comparison_table(contenders).rows
    assert row[4] == f"{100 * read_run(run_dir).metrics['test'].accuracy:.2f} %"
    assert (row[6], row[8]) == ("", "")
    assert reservations(contenders) == ["No evaluation.json, which `linnet report` makes: bare."]
    assert [picture.name for picture in comparison_page(contenders).pictures] == ["accuracies", "progress"]


def test_what_is_no_run_is_named(run_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(RunNotFound, match=f"no finished run in {tmp_path}"):
        gather_contenders([run_dir, tmp_path])
