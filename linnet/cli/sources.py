"""What `linnet predict` is given: images, folders, globs, zips, or standard input as `-`.

Nothing is read before its turn, so that a run over any number of images needs the memory of a few.
"""

from __future__ import annotations

import errno
import glob
import lzma
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path, PurePosixPath

from linnet.errors import LinnetError, PathNotFound
from linnet.image_files import images_in, is_image_name
from linnet.names import require_text

STANDARD_INPUT = "-"
ZIP_MAGIC = b"PK\x03\x04"
# A member of a few kilobytes can unpack to gigabytes; what it announces is checked while it is unpacked.
MAX_MEMBER_BYTES = 256 * 1024 * 1024
# What the standard library raises for what is damaged, encrypted, misnamed or packed in a way that it does not know.
_DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, RuntimeError, EOFError, ValueError)


class UnusableArchive(LinnetError):
    """A zip that cannot be opened."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"The archive {name} cannot be read ({reason}): make it again, or unpack it first.")


@dataclass(frozen=True)
class Source:
    """One encoded image, to be read when its turn comes; a binary file to the client."""

    name: str
    load: Callable[[], bytes]

    def read(self) -> bytes:
        """Return the bytes; raises `OSError`."""
        return self.load()


class Sources:
    """The images behind some paths: counted first, walked when iterated over, in the order named and sorted within."""

    def __init__(self, paths: Sequence[Path]) -> None:
        """Look at every path once; raises `PathNotFound`, `NameNotText` or `UnusableArchive`."""
        self._named = [found for path in paths for found in _expand(path)]
        self._input = sys.stdin.buffer.read() if STANDARD_INPUT in map(str, self._named) else b""
        self.count = sum(self._count(path) for path in self._named)

    def __iter__(self) -> Iterator[Source]:
        for path in self._named:
            yield from self._behind(path)

    def _count(self, path: Path) -> int:
        count = sum(1 for _ in self._behind(path))
        if count == 0:
            raise PathNotFound(path, "image")
        return count

    def _behind(self, path: Path) -> Iterator[Source]:
        if str(path) == STANDARD_INPUT:
            if self._input.startswith(ZIP_MAGIC):
                yield from _members(STANDARD_INPUT, BytesIO(self._input))
            else:
                yield Source(STANDARD_INPUT, lambda: self._input)
        elif path.is_dir():
            yield from (_file(file) for file in images_in(path))
        elif path.suffix.lower() == ".zip":
            yield from _members(str(path), path)
        else:
            yield _file(path)


def _file(path: Path) -> Source:
    return Source(str(require_text(path)), path.read_bytes)


def _expand(path: Path) -> list[Path]:
    """Return the path itself, or what it matches where there is nothing of its name and it is a pattern.

    A pattern with `**` may match folders and, once more, what is in them: of such folders only that is taken.
    """
    if str(path) == STANDARD_INPUT or path.exists():
        return [path]
    matches = sorted(glob.glob(str(path), recursive=True)) if glob.has_magic(str(path)) else []  # noqa: PTH207
    found = [Path(match) for match in matches]
    if "**" in path.parts:
        within = {folder for match in found for folder in match.parents}
        found = [match for match in found if not match.is_dir() or not (path.name in ("*", "**") or match in within)]
    if not found:
        raise PathNotFound(path, "image or folder")
    return found


def _members(name: str, file: Path | BytesIO) -> Iterator[Source]:
    """List the images in a zip by name; the archive stays open as long as one of its sources is there to be read."""
    try:
        archive = zipfile.ZipFile(file)
    except _DAMAGE as error:
        raise UnusableArchive(name, str(error)) from error
    for member in sorted(archive.infolist(), key=lambda member: member.filename):
        parts = PurePosixPath(member.filename).parts
        is_hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
        if parts and not member.is_dir() and not is_hidden and is_image_name(parts[-1]):
            yield Source(f"{name}/{member.filename}", partial(_unpack, archive, member))


def _unpack(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """Return a member's bytes; raises `OSError` for whatever is wrong with it."""
    if member.file_size > MAX_MEMBER_BYTES:
        raise OSError(errno.EFBIG, f"it unpacks to more than {MAX_MEMBER_BYTES:,} bytes")
    try:
        return archive.read(member)
    except _DAMAGE as error:
        raise OSError(errno.EIO, str(error) or "it cannot be unpacked") from error
