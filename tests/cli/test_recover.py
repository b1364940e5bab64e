"""`linnet recover` prints the file of the weights, or says why there is none."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Linnet


def test_it_prints_the_file_it_wrote(linnet: Linnet, bundle_dir: Path, photos: Path, tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    answer = linnet("recover", bundle_dir, "--out", file, "--data", photos)
    assert (answer.code, answer.err, answer.out) == (0, "", f"{file}\n")
    assert file.stat().st_size > 0


def test_a_file_that_exists_is_a_mistake_of_usage(linnet: Linnet, bundle_dir: Path, tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    file.touch()
    answer = linnet("recover", bundle_dir, "--out", file)
    assert answer.complaint == f"The file {file} exists already and is left as it is: name another with --out."
    assert answer.code == 2
