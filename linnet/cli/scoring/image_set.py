"""A set of images wherever it lies: a folder, a zip, object storage; whatever fsspec reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from linnet.cli.scoring.errors import NothingToScore, SetUnusable
from linnet.image_files import images_in
from linnet.names import require_text
from linnet.preprocess import IMAGE_SUFFIXES

# Object storage answers in tens of milliseconds: so many requests under way hide that from one core.
READERS = 8


class ImageSet:
    """Images below one location, each with a name relative to it; opened where it is used."""

    def __init__(self, location: str) -> None:
        """Open the location (`photos`, `photos.zip`, `s3://bucket/photos`); raises `SetUnusable`."""
        import fsspec

        self.location = location
        try:
            self._files, self._root = fsspec.core.url_to_fs(_url(location))
            if "zip" in self._files.protocol:
                self._files.find(self._root)  # the readers' threads would each begin its table of contents anew
        except Exception as error:  # every kind of storage has its own
            raise SetUnusable(location, _reason(error)) from error
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="read")

    def names(self) -> list[str]:
        """List the images, sorted, without what is hidden; raises `SetUnusable`, `NothingToScore` or `NameNotText`."""
        try:
            found: Any = self._find()
        except Exception as error:  # as above
            raise SetUnusable(self.location, _reason(error)) from error
        root = self._root.strip("/")
        names = sorted(path.strip("/").removeprefix(root).lstrip("/") for path in found)
        if not (images := [name for name in names if _is_image(name)]):
            raise NothingToScore(self.location)
        for name in images:
            require_text(Path(name))
        return images

    def _find(self) -> Any:
        """List all files; of this machine by our own walk, for fsspec's leaves out what cannot be listed."""
        if "file" not in self._files.protocol:
            return self._files.find(self._root)
        root = Path(self._root)
        return [str(path) for path in images_in(root)] if root.is_dir() else []

    def read(self, names: Sequence[str]) -> Iterator[bytes | OSError]:
        """Return the bytes of each image in order, or why it cannot be read; reads ahead."""
        waiting = iter(names)
        under_way: list[Future[bytes | OSError]] = [
            self._readers.submit(self._read, name) for name in islice(waiting, 2 * READERS)
        ]
        while under_way:
            yield under_way.pop(0).result()
            under_way += [self._readers.submit(self._read, name) for name in islice(waiting, 1)]

    def _read(self, name: str) -> bytes | OSError:
        try:
            data: bytes = self._files.cat_file(f"{self._root.rstrip('/')}/{name}" if self._root else name)
            return data
        except Exception as error:  # as above; one image must not stop a million
            return error if isinstance(error, OSError) else OSError(_reason(error))


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def _url(location: str) -> str:
    return f"zip://::{location}" if location.lower().endswith(".zip") else location


def _is_image(name: str) -> bool:
    path = PurePosixPath(name)
    is_hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
    return path.suffix.lower() in IMAGE_SUFFIXES and not is_hidden
