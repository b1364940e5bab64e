"""Counts how often a model names the folder that an image lies in."""

from __future__ import annotations

from collections import Counter
from pathlib import PurePath

from linnet.cli.classify import Row
from service.schemas import FailedPrediction

FAILED = "(failed)"
# Up to so many classes the whole table fits a terminal; past it only what is confused most is listed.
MAX_COLUMNS = 12
MAX_PAIRS = 20
CELL_WIDTH = 8


class Tally:
    """Rows by the folder's name and the answer; what failed counts as wrong."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()

    def add(self, row: Row) -> None:
        """Count a row whose name has a folder."""
        truth = PurePath(row.filename or "").parent.name
        if truth:
            self._counts[truth, FAILED if isinstance(row, FailedPrediction) else row.label] += 1

    def lines(self) -> list[str]:
        """Return the accuracy and the confusions, for people."""
        total = self._counts.total()
        if total == 0:
            return ["No image lies in a folder that could be its label."]
        correct = sum(count for (truth, answer), count in self._counts.items() if truth == answer)
        failed = sum(count for (_, answer), count in self._counts.items() if answer == FAILED)
        note = f"; {failed:,} failed and count as wrong" if failed else ""
        headline = f"accuracy {100 * correct / total:.2f} % ({correct:,} of {total:,}{note})"
        names = sorted({name for pair in self._counts for name in pair if name != FAILED})
        columns = [*names, FAILED] if failed else names
        return [headline, "", *(self._table(columns) if len(names) <= MAX_COLUMNS else self._pairs())]

    def _table(self, columns: list[str]) -> list[str]:
        truths = sorted({truth for truth, _ in self._counts})
        width = max(len(name) for name in [*truths, "folder"])
        head = "".join(f"{name[: CELL_WIDTH - 1]:>{CELL_WIDTH}}" for name in columns)
        rows = (
            f"{truth:{width}}" + "".join(f"{self._counts[truth, answer]:>{CELL_WIDTH},}" for answer in columns)
            for truth in truths
        )
        return [f"{'folder':{width}}{head}", *rows]

    def _pairs(self) -> list[str]:
        wrong = sorted(
            ((count, truth, answer) for (truth, answer), count in self._counts.items() if truth != answer), reverse=True
        )
        return [f"{count:>{CELL_WIDTH},}  {truth} → {answer}" for count, truth, answer in wrong[:MAX_PAIRS]]
