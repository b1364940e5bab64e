"""What comes from the cache is what decoding gives, and a cache that is harmed is made anew."""

from __future__ import annotations

import os
import time
import uuid
from pathlib import Path

import pytest
import torch

from linnet.preprocess import PreprocessSpec
from tests.trainer.trees import write_photos
from trainer import image_cache, images
from trainer.contents import digest_files
from trainer.data import Example
from trainer.disk import check_space
from trainer.errors import DiskFull, UnreadableFiles
from trainer.image_cache import decode_cached, default_cache
from trainer.images import decode

SPEC = PreprocessSpec(size_px=16, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


@pytest.fixture
def split(tmp_path: Path) -> list[Example]:
    root = write_photos(tmp_path / "photos", {"red": 6, "blue": 5})
    return [Example(path, int(path.parent.name == "red")) for path in sorted(root.rglob("*.jpg"))]


def cached(split: list[Example], folder: Path, spec: PreprocessSpec = SPEC) -> tuple[torch.Tensor, list[int]]:
    """Return the images and what progress was told."""
    digests = digest_files([example.path for example in split])
    done: list[int] = []
    return decode_cached(split, [digests[example.path] for example in split], spec, folder, done.append), done


def test_the_cache_gives_what_decoding_gives(split: list[Example], tmp_path: Path) -> None:
    expected = decode(split, SPEC)
    first, decoded = cached(split, tmp_path / "cache")
    second, read = cached(split, tmp_path / "cache")
    assert torch.equal(first, expected)
    assert torch.equal(second, expected)
    assert (decoded, read) == ([1] * 11, [11]), "the second time, nothing is decoded"
    (file,) = (tmp_path / "cache").iterdir()
    assert file.stat().st_size == expected.nbytes + 32


def test_chunks_change_nothing(split: list[Example], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = decode(split, SPEC)
    monkeypatch.setattr(images, "CHUNK_BYTES", 3 * 16**2 * 4)  # of eleven images
    assert torch.equal(decode(split, SPEC), expected)
    assert torch.equal(cached(split, tmp_path / "cache")[0], expected)


def test_a_large_cache_is_mapped_and_not_written_to(
    split: list[Example], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_cache, "MAPPED_FROM_BYTES", 1)
    mapped, _ = cached(split, tmp_path / "cache")
    assert torch.equal(mapped, decode(split, SPEC))
    (file,) = (tmp_path / "cache").iterdir()
    assert any(str(file) in line for line in Path("/proc/self/maps").read_text().splitlines()), "it is not mapped"
    before = file.read_bytes()
    mapped.zero_()
    assert file.read_bytes() == before


@pytest.mark.parametrize("harm", ["a pixel", "the end", "everything"])
def test_a_harmed_cache_is_made_anew(split: list[Example], tmp_path: Path, harm: str) -> None:
    expected, _ = cached(split, tmp_path / "cache")
    (file,) = (tmp_path / "cache").iterdir()
    content = bytearray(file.read_bytes())
    if harm == "a pixel":
        content[100] ^= 1
    file.write_bytes({"a pixel": bytes(content), "the end": bytes(content[:-7]), "everything": b""}[harm])
    again, done = cached(split, tmp_path / "cache")
    assert torch.equal(again, expected)
    assert done == [1] * 11
    assert cached(split, tmp_path / "cache")[1] == [11]


def test_other_contents_order_or_preprocessing_are_another_file(split: list[Example], tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    cached(split, folder)
    smaller = SPEC.model_copy(update={"size_px": 8})
    assert torch.equal(cached(split, folder, smaller)[0], decode(split, smaller))
    assert torch.equal(cached(split[::-1], folder)[0], decode(split[::-1], SPEC))
    split[0].path.write_bytes(split[-1].path.read_bytes())  # of the same name
    assert torch.equal(cached(split, folder)[0], decode(split, SPEC))
    assert len(list(folder.iterdir())) == 4
    assert cached(split, folder, SPEC.model_copy(update={"mean": (0.1, 0.1, 0.1)}))[1] == [11], (
        "pixels are not normalised"
    )


def test_an_unreadable_image_leaves_no_cache(split: list[Example], tmp_path: Path) -> None:
    split[3].path.write_bytes(b"not an image")
    with pytest.raises(UnreadableFiles, match="1 of the images cannot be used"):
        cached(split, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_full_disk_is_one_sentence_and_leaves_nothing(
    split: list[Example], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "cache"
    with pytest.raises(DiskFull, match=r"not enough space on the disk of .*MB are needed.*: free some"):
        check_space(folder / "not" / "there", 2**62, "free some")
    digests = digest_files([example.path for example in split])
    key = image_cache._key([digests[example.path] for example in split], SPEC)
    folder.mkdir()
    monkeypatch.setattr("uuid.uuid4", lambda: uuid.UUID(int=1))
    # A disk that has no space left for its content.
    (folder / f".{key}.{uuid.UUID(int=1).hex}.part").symlink_to("/dev/full")
    with pytest.raises(DiskFull, match=r"No space left on device\): free some, choose another folder with --cache"):
        cached(split, folder)
    assert list(folder.iterdir()) == []


def test_what_a_kill_left_is_cleared_away_after_a_day(split: list[Example], tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    for name, age_s in (("old", 2 * 86_400), ("new", 60)):
        left_over = folder / f".{name}.1.part"
        left_over.touch()
        os.utime(left_over, (time.time() - age_s,) * 2)
    cached(split, folder)
    assert {path.name for path in folder.iterdir() if path.name.startswith(".")} == {".new.1.part"}


def test_the_users_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    assert default_cache() == tmp_path / "home" / "linnet"
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert default_cache() is None, "a home that cannot be written to is no reason not to train"
