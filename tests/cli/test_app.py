"""The verbs, what they need, and how they end."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from linnet import __version__
from linnet.cli.missing import EXTRA_OF, IMAGE_OF
from tests.cli.conftest import Linnet
from tests.deploy.files import read_yaml, stages

ROOT = Path(__file__).parents[2]


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_the_version_is_said(linnet: Linnet) -> None:
    answer = linnet("--version")
    assert (answer.code, answer.out, answer.err) == (0, f"linnet {__version__}\n", "")


def test_the_help_lists_the_verbs(linnet: Linnet) -> None:
    answer = linnet("--help")
    assert answer.code == 0
    for verb in ("train", "lr-find", "report", "compare", "export", "serve", "bench", "verify", "predict"):
        assert re.search(rf"\b{verb}\b", answer.out), verb
        assert linnet(verb, "--help").code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("fly",),
        ("train",),
        ("train", "a", "b"),
        ("export", "x", "--version", "0"),
        ("export", "x", "--max-loss", "101"),
        ("predict",),
        ("bench",),
        ("verify",),
    ],
)
def test_a_call_that_makes_no_sense_is_a_usage_error(linnet: Linnet, arguments: tuple[str, ...]) -> None:
    answer = linnet(*arguments)
    assert answer.code == 2
    assert "Traceback" not in answer.err


def test_a_setting_that_is_unknown_stops_the_service(linnet: Linnet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINNET_PROT", "8001")
    answer = linnet("serve")
    assert answer.code == 2
    assert "LINNET_PORT" in answer.complaint


@pytest.mark.e2e
def test_the_command_line_loads_nothing_heavy() -> None:
    heavy = "{'torch', 'torchvision', 'onnx', 'onnxruntime', 'fastapi', 'uvicorn', 'matplotlib', 'trainer', 'service'}"
    answer = python(f"import sys, linnet.cli; print(*sorted({heavy} & set(sys.modules)))")
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "\n", "")


def module_of(requirement: str) -> str:
    """Return what is imported of a package; scikit-learn alone has another name there."""
    return requirement.replace("scikit-learn", "sklearn").replace("-", "_")


def test_every_package_of_an_extra_is_known_by_its_module() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    modules = {
        module_of(re.split(r"[<>=;\[ ]", requirement)[0])
        for name in ("serve", "train", "ray")
        for requirement in extras[name]
    }
    assert modules == set(EXTRA_OF)
    for module, extra in EXTRA_OF.items():
        assert any(module_of(requirement).startswith(module) for requirement in extras[extra]), module


WITHOUT = "import sys; sys.modules[sys.argv.pop(1)] = None; from linnet.cli import main; main()"


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("module", "extra", "arguments"),
    [
        ("torch", "train", ("train", "recipes/demo.toml")),
        ("safetensors", "train", ("train", "recipes/demo.toml")),
        ("onnx", "train", ("export", "runs/x")),
        ("fastapi", "serve", ("serve",)),
        ("pydantic_settings", "serve", ("serve",)),
        ("uvicorn", "serve", ("serve",)),
        ("httptools", "serve", ("serve", "--port", "0")),
        ("onnxruntime", "serve", ("predict", "examples", "--bundle", "{bundle}")),
    ],
)
def test_a_missing_extra_is_one_sentence(bundle_dir: Path, module: str, extra: str, arguments: tuple[str, ...]) -> None:
    answer = python(WITHOUT, module, *(argument.format(bundle=bundle_dir) for argument in arguments))
    assert (answer.returncode, answer.stdout) == (1, "")
    assert answer.stderr.splitlines()[-1] == (
        f"linnet: `linnet {arguments[0]}` needs {module}, which is not installed here: install the {extra!r} "
        f"requirements (`make install`, or `pip install -e '.[{extra}]'`)."
    )
    assert "Traceback" not in answer.stderr


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("room", "arguments"),
    [
        ("trainer", ("train", "recipes/demo.toml")),
        ("export", ("export", "runs/x")),
        ("export", ("recover", "models/x")),
        ("service", ("serve",)),
        ("service", ("predict", "examples")),
    ],
)
def test_a_room_that_an_image_does_not_hold_is_one_sentence(room: str, arguments: tuple[str, ...]) -> None:
    answer = python(WITHOUT, room, *arguments)
    assert (answer.returncode, answer.stdout) == (1, "")
    assert answer.stderr == (
        f"linnet: `linnet {arguments[0]}` needs {room}/, which this installation does not hold: use the image "
        f"{IMAGE_OF[room]}, or a checkout of the whole repository.\n"
    )


def test_the_image_of_a_room_holds_it() -> None:
    services = read_yaml(ROOT / "docker-compose.yml")["services"].values()
    stage_of = {service["image"]: service["build"]["target"] for service in services if "build" in service}
    for room, image in IMAGE_OF.items():
        code = "trainer-code" if stage_of[image] == "trainer" else "service-code"
        assert any(line.startswith(f"COPY {room} ") for line in stages()[code]), room


@pytest.mark.e2e
@pytest.mark.parametrize("module", ["linnet_client", "httpx"])
def test_a_missing_client_is_one_sentence(module: str) -> None:
    answer = python(WITHOUT, module, "predict", "examples", "--url", "http://127.0.0.1:9")
    assert (answer.returncode, answer.stdout) == (1, "")
    assert answer.stderr == (
        f"linnet: `linnet predict --url` needs {module}, which is not installed here: run `make install`, or "
        "`pip install ./client`.\n"
    )
