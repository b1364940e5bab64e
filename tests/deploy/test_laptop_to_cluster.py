"""The readme's way from a laptop to a cluster: every line of it is run, or held against what would run it."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from tests.cli.conftest import Linnet, linnet
from tests.deploy.files import ROOT, output_of, read_yaml, stages, tool
from tests.docs.test_readme import README, shell_lines
from tests.service.bundles import png, write_model

__all__ = ["linnet"]  # a fixture

HEADING = "From a laptop to a cluster"
LINES = [line.partition("#")[0].strip() for line in shell_lines(HEADING)]


def serve(target: str) -> None:
    assert re.search(rf"^{target}:.*\n\t\.venv-serve/bin/linnet serve", (ROOT / "Makefile").read_text(), re.MULTILINE)


def compose(*words: str) -> None:
    """What `up` starts is what no profile asks for."""
    assert words == ("compose", "up")
    services = read_yaml(ROOT / "docker-compose.yml")["services"]
    assert [name for name, service in services.items() if "profiles" not in service] == ["service"]
    assert "monitoring" in services["grafana"]["profiles"]


def build(*words: str) -> None:
    """The folder that is built has a Dockerfile whose last stage is the service."""
    assert (words[0], words[-1]) == ("build", ".")
    assert list(stages())[-1] == "service"


def apply(folder: str) -> None:
    assert "kind: Deployment" in output_of(tool("kubectl"), "kustomize", folder)
    for overlay in re.findall(r"overlays/(\w+)", README.split(HEADING)[1].split("\n## ")[0]):
        output_of(tool("kubectl"), "kustomize", str(Path(folder).parent / "overlays" / overlay))


def test_it_takes_ten_lines_at_most() -> None:
    section = README.split(f"\n## {HEADING}\n")[1].split("\n## ")[0]
    assert len([line for line in section.splitlines() if line.strip() and "```" not in line]) <= 10


@pytest.mark.parametrize("line", [line for line in LINES if not line.startswith("linnet ")])
def test_every_line_leads_where_it_says(line: str) -> None:
    words = shlex.split(line)
    if words[0] == "docker":
        (build if words[1] == "build" else compose)(*words[1:])
    elif words[0] == "kubectl":
        assert words[1:3] == ["apply", "-k"]
        apply(words[3])
    else:
        assert words[0] == "make"
        serve(words[1])


def test_the_line_for_a_million_photos_is_run(linnet: Linnet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyarrow", reason="the ray extra is not installed")
    (line,) = (line for line in LINES if line.startswith("linnet "))
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "red.png").write_bytes(png())
    write_model(tmp_path / "models")
    monkeypatch.chdir(tmp_path)
    assert json.loads(linnet(*shlex.split(line)[1:]).out)["scored_now"] == 1
    assert (tmp_path / "scores" / "part-000000.parquet").is_file()
