"""States beside a file of rows what answered them, so that the file is continued with nothing else."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from linnet.errors import UsageError, first_line


class OtherRows(UsageError):
    """The file holds the answers of something else, which this run would mix with its own."""

    def __init__(self, output: Path, there: str, here: str) -> None:
        super().__init__(
            f"The output {output} holds answers of {there}, and now answers {here}: name another output, or remove "
            "that one first."
        )


class RowsUnknown(UsageError):
    """The file holds answers, and nothing says whose."""

    def __init__(self, output: Path, note: Path, reason: str) -> None:
        super().__init__(
            f"What answered the rows of {output} is not known ({note}: {reason}): bring that file back, or name "
            "another output."
        )


class Origin(BaseModel):
    """What decides a row, but for the image."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    version: str
    variant: str | None  # None: of a service, whose machines may each serve another
    top_k: int

    def __str__(self) -> str:
        return f"{self.model} {self.version} ({self.variant or 'of a service'}, --top-k {self.top_k})"


class OriginNote:
    """The file beside the output; it counts as long as there is an output."""

    def __init__(self, output: Path, *, is_answered: bool) -> None:
        """Read it where the output is answered in part; raises `RowsUnknown`."""
        self._output = output
        self._path = output.with_name(f"{output.name}.origin.json")
        self._stated = self._read() if is_answered else None

    def claim(self, origin: Origin) -> None:
        """State what answers, or see that it is what is stated; raises `OtherRows`."""
        if self._stated is None:
            self._path.write_text(origin.model_dump_json(indent=2) + "\n", encoding="utf-8")
            self._stated = origin
        elif origin != self._stated:
            raise OtherRows(self._output, str(self._stated), str(origin))

    def _read(self) -> Origin:
        try:
            return Origin.model_validate_json(self._path.read_bytes())
        except OSError as error:
            raise RowsUnknown(self._output, self._path, error.strerror or first_line(error)) from error
        except ValueError as error:
            raise RowsUnknown(self._output, self._path, first_line(error)) from error
