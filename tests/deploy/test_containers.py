"""The Dockerfile and the compose file: what they promise can be read off them."""

from __future__ import annotations

import json
import re

import pytest

from service.settings import variables
from tests.deploy.files import ROOT, output_of, read_yaml, stages, tool

IMAGES = ("trainer", "demo", "service-cuda", "service")
COMPOSE = read_yaml(ROOT / "docker-compose.yml")
SERVICES = COMPOSE["services"]


def chain(stage: str) -> list[str]:
    """Return the instructions of a stage and of those that it starts from."""
    own = stages()[stage]
    parent = own[0].split()[1]
    return (chain(parent) if parent in stages() else []) + own


def test_the_linter_finds_nothing() -> None:
    assert output_of(tool("hadolint"), "Dockerfile") == ""


def test_older_builders_understand_it() -> None:
    assert not [line for lines in stages().values() for line in lines if "--link" in line or "<<" in line]
    assert "# syntax" not in (ROOT / "Dockerfile").read_text(encoding="utf-8")


def test_the_service_is_the_default() -> None:
    assert list(stages())[-1] == "service"


@pytest.mark.parametrize("image", IMAGES)
def test_images_run_as_an_ordinary_user_and_get_signals_themselves(image: str) -> None:
    lines = chain(image)
    assert [line for line in lines if line.startswith("USER")][-1] == "USER 10001:10001"
    for keyword in ("ENTRYPOINT", "CMD"):
        line = [line for line in lines if line.startswith(keyword + " ")][-1]
        assert json.loads(line.removeprefix(keyword))
    assert not [line for line in stages()[image] if line.startswith("RUN") and ("pip" in line or "apt" in line)]


@pytest.mark.parametrize("image", ("service", "service-cuda"))
def test_the_service_carries_no_other_room(image: str) -> None:
    copied = [line for line in chain(image) + stages()["service-code"] if line.startswith("COPY")]
    sources = {re.sub(r"--\S+ ", "", line).split()[1] for line in copied}
    assert sources == {"/opt/venv", "/app", "models", "linnet", "service"}
    assert any(line.startswith("HEALTHCHECK") for line in chain(image))


def test_the_builder_gets_what_is_copied_and_no_more() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in lines
    let_through = {line[1:] for line in lines if line.startswith("!")}
    copied = {
        re.sub(r"--\S+ ", "", line).split()[1]
        for instructions in stages().values()
        for line in instructions
        if line.startswith("COPY") and "--from" not in line
    }
    assert all((ROOT / source).exists() for source in copied)
    assert {re.sub(r"\w[\w-]*\.lock", "*.lock", source) for source in copied} == let_through


def test_compose_builds_images_that_are_there() -> None:
    targets = {service["build"]["target"] for service in SERVICES.values() if "build" in service}
    assert targets <= set(stages())
    assert set(IMAGES) <= targets


@pytest.mark.parametrize("name", SERVICES)
def test_compose_services_are_restricted(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert all(port.startswith("${BIND:-127.0.0.1}:") for port in service.get("ports", ()))
    if "profiles" not in service or "train" not in service["profiles"]:
        assert service["restart"] == "unless-stopped"
        assert service["cpus"]
        assert service["mem_limit"]


def test_compose_mounts_what_is_there() -> None:
    for name, service in SERVICES.items():
        for volume in service.get("volumes", ()):
            source = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", volume).split(":")[0]
            if source.startswith("./data"):
                continue  # the user's own images
            assert (ROOT / source).exists() if source.startswith(".") else source in COMPOSE["volumes"], (name, volume)


def test_what_is_decoded_for_training_is_there_for_the_export() -> None:
    """The file systems are read-only, but for volumes: the cache lies in the one that both mount."""
    caches = [SERVICES[name]["command"][SERVICES[name]["command"].index("--cache") + 1] for name in ("train", "export")]
    assert caches[0] == caches[1]
    assert all(f"runs:{caches[0].rpartition('/')[0]}" in SERVICES[name]["volumes"] for name in ("train", "export"))


def test_compose_waits_for_health() -> None:
    assert SERVICES["prometheus"]["depends_on"]["service"]["condition"] == "service_healthy"
    assert SERVICES["demo"]["depends_on"]["service"]["condition"] == "service_healthy"
    assert SERVICES["grafana"]["depends_on"]["prometheus"]["condition"] == "service_healthy"
    assert SERVICES["export"]["depends_on"]["train"]["condition"] == "service_completed_successfully"


def test_variables_are_settings() -> None:
    """A `LINNET_*` variable that is no setting stops the service's start."""
    set_by_images = {name for line in chain("service-cuda") for name in re.findall(r"\b(LINNET_\w+)=", line)}
    set_by_compose = {name for service in SERVICES.values() for name in service.get("environment", {})}
    ours = {name for name in set_by_images | set_by_compose if name.startswith("LINNET_")}
    assert {"LINNET_HOST", "LINNET_PORT", "LINNET_MODEL", "LINNET_PROVIDER"} <= ours
    assert ours <= set(variables())
