"""Runs the command line in this process, as `linnet` does."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from linnet.cli import main


@dataclass(frozen=True)
class Answer:
    """What a command left: exit code, stdout and stderr."""

    code: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """Return the one sentence of a failure, without its prefix."""
        lines = [line for line in self.err.splitlines() if line.startswith("linnet: ")]
        assert len(lines) == 1, self.err
        assert self.err.splitlines()[-1] == lines[0]
        assert "Traceback" not in self.err
        assert self.out == ""
        return lines[0].removeprefix("linnet: ")


Linnet = Callable[..., Answer]


@pytest.fixture
def linnet(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Linnet:
    """A function that runs `linnet` with the arguments given."""

    def run(*arguments: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["linnet", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        out, err = capsys.readouterr()
        code = left.value.code
        assert code is None or isinstance(code, int)
        return Answer(code or 0, out, err)

    return run
