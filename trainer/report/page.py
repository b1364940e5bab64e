"""What a page is made of, before anybody decides how it looks: both Markdown and HTML are made from these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str
    kind: ClassVar[str] = "text"


@dataclass(frozen=True)
class Notice:
    """Something that could not be shown, and why."""

    text: str
    kind: ClassVar[str] = "notice"


@dataclass(frozen=True)
class Table:
    """Rows under a header; the first `left` columns are words and stand to the left, the others are figures."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: int = 1
    kind: ClassVar[str] = "table"


@dataclass(frozen=True)
class Code:
    """Text whose columns line up."""

    text: str
    kind: ClassVar[str] = "code"


@dataclass(frozen=True)
class Picture:
    """A PNG, its file's stem, and the sentence below it, which also stands in for it where it cannot be seen."""

    name: str
    png: bytes
    caption: str
    kind: ClassVar[str] = "picture"


Block = Text | Notice | Table | Code | Picture


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it."""

    title: str
    blocks: Sequence[Block]

    @property
    def anchor(self) -> str:
        """Return the name that links point to."""
        return self.title.lower().replace(" ", "-")


@dataclass(frozen=True)
class Page:
    """A whole page; `figures` are the few numbers that stand above everything, by their names."""

    title: str
    subtitle: str
    sections: Sequence[Section]
    figures: Sequence[tuple[str, str]] = field(default=())

    @property
    def pictures(self) -> list[Picture]:
        """Return all pictures, in order."""
        return [block for section in self.sections for block in section.blocks if isinstance(block, Picture)]
