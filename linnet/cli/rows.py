"""Where the rows of `linnet predict` go: stdout or a file, as JSON lines or as a table for people.

A file is written line by line, so that a run that was stopped can be continued.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from linnet.cli.classify import ROW, Row
from linnet.errors import UsageError
from service.schemas import FailedPrediction

LABEL_WIDTH = 20
ROW_START = '{"filename":'


class OutputExists(UsageError):
    """The output is there already, perhaps the work of hours."""

    def __init__(self, path: Path, *, as_table: bool) -> None:
        way = "name another, as a table cannot be continued" if as_table else "add --skip-done to continue it"
        super().__init__(f"The output {path} exists already: {way}, or remove it first.")


class NothingToContinue(UsageError):
    """`--skip-done` has nowhere to read from what is done."""

    def __init__(self) -> None:
        super().__init__("`--skip-done` continues the JSON lines of a file: name it with --output.")


class TableNotContinued(UsageError):
    """`--skip-done` is to continue a table, which does not say which images are in it."""

    def __init__(self) -> None:
        super().__init__(
            "`--skip-done` continues the JSON lines of a file, and a table cannot be continued: leave out one of "
            "--skip-done and --table."
        )


class ForeignOutput(UsageError):
    """The file to be continued holds something else."""

    def __init__(self, path: Path, line: int) -> None:
        super().__init__(f"Line {line} of {path} is no row of `linnet predict`: name another output.")


def as_json(row: Row) -> str:
    """Return the row as one line of JSON."""
    return row.model_dump_json()


def as_text(row: Row) -> str:
    """Return label, confidence and name in columns; a question mark where the model abstains."""
    if isinstance(row, FailedPrediction):
        return f"{'(failed)':{LABEL_WIDTH}} {'':8}  {row.filename}: {row.error.detail}"
    confidence = f"{100 * row.confidence:.1f} %{'?' if row.uncertain else ' '}"
    return f"{row.label:{LABEL_WIDTH}} {confidence:>8}  {row.filename}"


def done_rows(path: Path) -> Iterator[Row]:
    """Read the rows that an earlier run wrote; a last line that was cut off is passed over.

    Raises `ForeignOutput`.
    """
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith("\n") and ROW_START.startswith(line[: len(ROW_START)]):
                return
            try:
                yield ROW.validate_json(line)
            except ValueError as error:
                raise ForeignOutput(path, number) from error


def answered_names(path: Path) -> set[str]:
    """Return the names of the images that the file answers; what failed is tried again. Raises `ForeignOutput`."""
    return {row.filename or "" for row in done_rows(path) if not isinstance(row, FailedPrediction)}


def keep_predictions(path: Path, seen: Callable[[Row], None]) -> None:
    """Leave in the file the rows that answer and show each to `seen`; a last line that was cut off goes, too."""
    kept = path.with_name(f".{path.name}.kept")
    with kept.open("w", encoding="utf-8") as file:
        for row in done_rows(path):
            if not isinstance(row, FailedPrediction):
                seen(row)
                file.write(as_json(row) + "\n")
    os.replace(kept, path)  # noqa: PTH105


@contextmanager
def open_output(path: Path | None) -> Iterator[TextIO]:
    """Open what rows are added to: a file, in which each line is there as soon as it is written, or stdout."""
    if path is None:
        yield sys.stdout
    else:
        with path.open("a", encoding="utf-8", buffering=1) as file:
            yield file
