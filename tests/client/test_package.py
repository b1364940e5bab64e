"""The client as a package of its own: what it needs, what it holds, and that its readme runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import linnet_client
from tests.service.running import ROOT

CLIENT = ROOT / "client"
# What is imported while nothing of ours, and none of the libraries whose images it takes, is there.
ALONE = """
import sys
for name in ("linnet", "service", "trainer", "export", "demo", "numpy", "PIL", "pydantic"):
    sys.modules[name] = None
import httpx, linnet_client
client = linnet_client.Client(transport=httpx.MockTransport(lambda request: httpx.Response(200, json={"models": []})))
print(client.models())
try:
    client.predict(3)
except TypeError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The distribution, built as pip builds it, but with the build backend that is installed here."""
    folder = tmp_path_factory.mktemp("wheel")
    code = "import sys; from hatchling.build import build_wheel; build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, folder], cwd=CLIENT, check=True, capture_output=True)
    (path,) = folder.glob("linnet_client-*.whl")
    return path


@pytest.mark.e2e
def test_the_package_needs_httpx_alone(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        fields = Parser().parsestr(archive.read(metadata).decode())
        packages = {name.split("/")[0] for name in archive.namelist()}
        assert "linnet_client/py.typed" in archive.namelist()
    needed = [re.split(r"[<>=;\[ ]", requirement)[0] for requirement in fields.get_all("Requires-Dist") or []]
    assert needed == ["httpx"]
    assert (fields["Name"], fields["Version"]) == ("linnet-client", linnet_client.__version__)
    assert fields["Requires-Python"] == ">=3.10"
    assert packages == {"linnet_client", metadata.split("/")[0]}


@pytest.mark.e2e
def test_it_works_where_nothing_else_is_installed() -> None:
    answer = subprocess.run(
        [sys.executable, "-W", "error", "-c", ALONE], cwd=CLIENT, capture_output=True, text=True, check=False
    )
    assert answer.stderr == ""
    assert answer.stdout.splitlines()[0] == "()"
    assert answer.stdout.splitlines()[1].startswith("A int is no image: pass a path")


def examples(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.mark.e2e
@pytest.mark.parametrize(("page", "count"), [("README.md", 1), ("client/README.md", 2)])
def test_the_examples_of_the_readme_run(page: str, count: int, cat_url: str) -> None:
    found = examples(ROOT / page)
    assert len(found) == count
    for example in found:
        answer = subprocess.run(
            [sys.executable, "-W", "error", "-c", example.replace("http://127.0.0.1:8000", cat_url)],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(CLIENT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert answer.stderr == ""
        first, *stream = answer.stdout.splitlines()
        assert first.split()[0] == "cat"
        assert [line.split()[0] for line in stream] == ["examples/cat.jpg"] * 3


def test_the_public_names_are_those_that_are_listed() -> None:
    public = {name for name in vars(linnet_client) if not name.startswith("_")}
    modules = {path.stem for path in (CLIENT / "linnet_client").glob("*.py")}
    assert public - modules == set(linnet_client.__all__)
