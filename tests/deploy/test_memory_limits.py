"""A container has the memory that the largest image that it takes on can need: one request must not end it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest

from service.decoder import LARGE_PX
from service.settings import Settings
from tests.deploy.files import DEPLOY, read_yaml

BASE_BYTES = 100_000_000  # of a process with the bundled model
BYTES_PER_PX = 16  # at most, while transparency is settled and an orientation applied
UNITS = {"m": 2**20, "Mi": 2**20, "Gi": 2**30}


def largest_need(cpus: int, variables: Mapping[str, str]) -> int:
    """Return the bytes that can be taken: one of the largest images, one that needs no turn per other core, bodies."""
    defaults = Settings.model_fields
    max_pixels = int(variables.get("LINNET_MAX_PIXELS", defaults["max_pixels"].default))
    pending = int(variables.get("LINNET_MAX_PENDING_BYTES", defaults["max_pending_bytes"].default))
    return BASE_BYTES + BYTES_PER_PX * (max_pixels + (cpus - 1) * min(LARGE_PX, max_pixels)) + pending


def bytes_of(quantity: str) -> int:
    """Return what Kubernetes and compose mean by 512Mi or 512m."""
    found = re.fullmatch(r"(\d+)(\w+)", quantity)
    assert found
    return int(found[1]) * UNITS[found[2]]


def limits_of(containers: list[Any]) -> Any:
    """Return the limits of the only container."""
    (only,) = containers
    return only["resources"]["limits"]


def limits() -> dict[str, tuple[int, str, dict[str, str]]]:
    """Return the cores, the memory and the variables that each way to deploy sets."""
    base = limits_of(read_yaml(DEPLOY / "kubernetes/base/deployment.yaml")["spec"]["template"]["spec"]["containers"])
    kserve = limits_of(read_yaml(DEPLOY / "kserve/linnet.yaml")["spec"]["predictor"]["containers"])
    (patch,) = (
        entry["patch"]
        for entry in read_yaml(DEPLOY / "kubernetes/overlays/cpu/kustomization.yaml")["patches"]
        if "resources" in entry["patch"]
    )
    overlay = re.search(r'limits: \{cpu: "(\d+)", memory: (\w+)\}', patch)
    compose = read_yaml(DEPLOY.parent / "docker-compose.yml")["services"]["service"]
    (render,) = read_yaml(DEPLOY / "render/render.yaml")["services"]
    assert overlay
    assert render["plan"] == "starter"
    return {
        "kubernetes": (int(base["cpu"]), base["memory"], {}),
        "kubernetes, overlay cpu": (int(overlay[1]), overlay[2], {}),
        "kserve": (int(kserve["cpu"]), kserve["memory"], {}),
        "compose": (int(_default(compose["cpus"])), _default(compose["mem_limit"]), {}),
        "render": (1, "512m", {entry["key"]: entry["value"] for entry in render["envVars"]}),
    }


def _default(value: str) -> str:
    """Return what compose puts in place of `${NAME:-default}`."""
    return value.removesuffix("}").partition(":-")[2]


@pytest.mark.parametrize("place", ["kubernetes", "kubernetes, overlay cpu", "kserve", "compose", "render"])
def test_the_largest_image_fits(place: str) -> None:
    cpus, memory, variables = limits()[place]
    assert largest_need(cpus, variables) <= bytes_of(memory)
