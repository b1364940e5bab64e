"""What is installed is what was locked: every lock has hashes and no address, and the locks agree."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from tests.deploy.files import ROOT, output_of, stages

LOCKS = sorted((ROOT / "requirements").glob("*.lock"))


def versions(lock: Path) -> dict[str, str]:
    """Return the versions of a lock by package; where they differ by platform, all of them."""
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", lock.read_text(encoding="utf-8"), flags=re.MULTILINE))


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_package_has_a_hash_and_none_an_address(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")
    packages = re.split(r"\n(?=[a-z0-9])", text)[1:]
    assert len(packages) > 20
    assert [package.splitlines()[0] for package in packages if "--hash=sha256:" not in package] == []
    assert "://" not in text


def test_the_gpu_image_differs_in_the_runtime_alone() -> None:
    cpu, gpu = versions(ROOT / "requirements/serve.lock"), versions(ROOT / "requirements/serve-cuda.lock")
    assert "onnxruntime" not in gpu
    assert gpu["onnxruntime-gpu"]
    assert {name: version for name, version in gpu.items() if name in cpu} == {
        name: version for name, version in cpu.items() if name in gpu
    }


def test_what_is_served_is_what_is_tested() -> None:
    served, tested = versions(ROOT / "requirements/serve.lock"), versions(ROOT / "requirements/dev.lock")
    assert len(served) > 20
    assert {name: version for name, version in served.items() if tested.get(name) != version} == {}


@pytest.mark.parametrize("lock", ["serve.lock", "serve-cuda.lock"])
def test_what_a_setting_of_the_service_needs_is_installed(lock: str) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    wanted = {re.split(r"[<>=;\[ ]", requirement)[0] for name in ("urls", "otel") for requirement in extras[name]}
    assert wanted
    assert wanted <= versions(ROOT / "requirements" / lock).keys()


def test_images_insist_on_the_hashes() -> None:
    installer = " ".join(stages()["installer"])
    assert "UV_REQUIRE_HASHES=1" in installer
    installing = [
        line for lines in stages().values() for line in lines if re.search(r"\b(pip|uv) (pip )?(install|sync)", line)
    ]
    assert len(installing) == 5
    for line in installing:
        assert "--require-hashes -r" in line or "--constraint requirements/" in line or "sync requirements/" in line


@pytest.mark.parametrize("target", ["sbom", "licences"])
def test_make_can_list_what_is_inside(target: str) -> None:
    steps = output_of("make", "--dry-run", "--always-make", target)
    assert f"build/{'sbom.cdx.json' if target == 'sbom' else 'licences.md'}" in steps
    assert "--constraint requirements/serve.lock -r pyproject.toml --extra serve --extra urls --extra otel" in steps


def test_make_insists_on_the_hashes_of_the_installer_too() -> None:
    steps = output_of("make", "--dry-run", "--always-make", "PYTHON=python3", ".venv-serve/bin/uv")
    (install,) = (line for line in steps.splitlines() if "pip install" in line)
    assert "--no-deps --require-hashes -r .venv-serve/uv.txt" in install
    assert "requirements/serve.lock > .venv-serve/uv.txt" in steps
