"""What `linnet predict` accepts: globs, zips and standard input beside files and folders; nothing before its turn."""

from __future__ import annotations

import io
import json
import os
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from linnet.cli.sources import Sources, UnusableArchive
from linnet.errors import PathNotFound
from linnet.names import NameNotText
from tests.cli.conftest import Linnet


def names(*paths: Path | str) -> list[str]:
    sources = Sources([Path(path) for path in paths])
    found = [source.name for source in sources]
    assert sources.count == len(found)
    return found


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """A folder with images in and beside folders, hidden things, and a text."""
    folder = tmp_path / "album"
    for name in ("b/2.png", "b/10.PNG", "a.jpg", "c.webp", ".hidden.png", ".trash/1.png", "b/notes.txt", "b/._2.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


@pytest.fixture
def archive(album: Path, tmp_path: Path) -> Path:
    """The album in a zip, with what a Mac adds."""
    path = tmp_path / "album.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("__MACOSX/b/._2.png", b"metadata")
        for file in sorted(album.rglob("*")):
            archive.write(file, file.relative_to(album))
    return path


def test_a_folder_is_walked_in_order(album: Path) -> None:
    assert names(album) == [str(album / name) for name in ("a.jpg", "b/10.PNG", "b/2.png", "c.webp")]


def test_a_glob_is_what_it_matches(album: Path) -> None:
    assert names(f"{album}/*.[jw]*") == [str(album / "a.jpg"), str(album / "c.webp")]
    assert names(f"{album}/**/*.png") == [str(album / "b" / "2.png")]
    assert names(f"{album}/**") == [
        str(album / name) for name in ("a.jpg", "b/10.PNG", "b/2.png", "b/notes.txt", "c.webp")
    ]
    (album / "empty").mkdir()
    assert len(names(f"{album}/**/*")) == 5
    assert names(f"{album}/**/b") == [str(album / "b" / "10.PNG"), str(album / "b" / "2.png")]
    odd = album / "[x].jpg"
    odd.touch()
    assert names(odd) == [str(odd)]
    with pytest.raises(PathNotFound):
        names(f"{album}/*.gif")


def test_a_zip_is_the_images_inside(archive: Path) -> None:
    assert names(archive) == [f"{archive}/{name}" for name in ("a.jpg", "b/10.PNG", "b/2.png", "c.webp")]
    assert [source.read() for source in Sources([archive])] == [b"a.jpg", b"b/10.PNG", b"b/2.png", b"c.webp"]
    late = list(Sources([archive]))  # read after the walk is over, as a client with many hands does
    assert late[1].read() == b"b/10.PNG"


def test_standard_input_is_an_image_or_a_zip(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for data, expected in (
        (b"an image", ["-"]),
        (archive.read_bytes(), ["-/a.jpg", "-/b/10.PNG", "-/b/2.png", "-/c.webp"]),
    ):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        assert names("-") == expected
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"an image")))
    assert [source.read() for source in Sources([Path("-")])] == [b"an image"]


def test_an_archive_that_is_none_is_said(tmp_path: Path) -> None:
    path = tmp_path / "photos.zip"
    path.write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(UnusableArchive):
        names(path)


def test_linked_folders_are_walked_and_circles_are_not(album: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "3.png").touch()
    (album / "d").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(album)
    assert names(album)[-1] == str(album / "d" / "3.png")
    assert len(names(album)) == 5


def test_a_name_that_is_no_text_is_refused_before_the_work(linnet: Linnet, album: Path) -> None:
    (album / os.fsdecode(b"caf\xe9.png")).touch()
    with pytest.raises(NameNotText, match=r"The name of .*caf\\xe9\.png is not UTF-8"):
        names(album)
    assert linnet("predict", album).complaint.startswith("The name of ")


def misname_a_member(path: Path) -> None:
    """Say in the directory that names are UTF-8, where one is not."""
    data = bytearray(path.read_bytes())
    at = data.find(b"PK\x01\x02")
    data[at + 9] |= 8
    data[at + 46] = 0xFF
    path.write_bytes(data)


def need_a_later_version(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[data.find(b"PK\x01\x02") + 6] = 99
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [misname_a_member, need_a_later_version])
def test_an_archive_whose_directory_cannot_be_read_is_said(
    linnet: Linnet, archive: Path, damage: Callable[[Path], None]
) -> None:
    damage(archive)
    assert linnet("predict", archive).complaint.startswith(f"The archive {archive} cannot be read (")


def flip_a_byte(archive: Path) -> None:
    data = bytearray(archive.read_bytes())
    with zipfile.ZipFile(archive) as opened:
        at = opened.getinfo("a.jpg").header_offset
    data[at + 30 + len("a.jpg") + 1] ^= 0xFF  # 30 bytes of header, the name, then what is packed
    archive.write_bytes(data)


def mark_as_encrypted(archive: Path) -> None:
    data = bytearray(archive.read_bytes())
    for signature, flags_at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = -1
        while (at := data.find(signature, at + 1)) >= 0:
            data[at + flags_at] |= 1
    archive.write_bytes(data)


@pytest.mark.parametrize("damage", [flip_a_byte, mark_as_encrypted])
def test_a_member_that_cannot_be_unpacked_is_an_os_error(archive: Path, damage: Callable[[Path], None]) -> None:
    damage(archive)
    with pytest.raises(OSError, match=r".") as caught:
        next(iter(Sources([archive]))).read()
    assert caught.value.strerror


def test_a_member_is_not_unpacked_past_the_limit(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("linnet.cli.sources.MAX_MEMBER_BYTES", 3)
    with pytest.raises(OSError, match="more than 3 bytes"):
        next(iter(Sources([archive]))).read()


@pytest.mark.e2e
def test_a_zip_is_answered_as_its_folder_is(linnet: Linnet, photos: Path, bundle_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "photos.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted((photos / "test").rglob("*.jpg")):
            archive.write(file, file.relative_to(photos / "test"))
    answers = [
        [json.loads(line) for line in linnet("predict", source, "--bundle", bundle_dir).out.splitlines()]
        for source in (path, photos / "test")
    ]
    assert len(answers[0]) == 18
    for packed, plain in zip(*answers, strict=True):
        assert packed.pop("filename").removeprefix(str(path)) == plain.pop("filename").removeprefix(
            str(photos / "test")
        )
        assert packed == plain
