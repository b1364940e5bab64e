"""Kubernetes manifests: rendered as `kubectl apply -k` renders them, and held against Kubernetes' own schemas."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from service.settings import variables
from tests.deploy.files import DEPLOY, output_of, read_yaml, tool

KUBERNETES = DEPLOY / "kubernetes"
OLDEST, NEWEST = "1.29", "1.37"
TARGETS = ("base", "overlays/cpu", "overlays/gpu")
COMPONENTS = ("models-from-volume", "models-from-image")


def render(folder: Path) -> list[dict[str, Any]]:
    """Return the manifests of a kustomization."""
    return list(yaml.safe_load_all(output_of(tool("kubectl"), "kustomize", str(folder))))


def one(manifests: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    """Return the only manifest of a kind."""
    (found,) = (manifest for manifest in manifests if manifest["kind"] == kind)
    return found


def pods(manifests: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what the deployment says of its pods."""
    template: dict[str, Any] = one(manifests, "Deployment")["spec"]["template"]
    return template


def validate(manifests: list[dict[str, Any]]) -> None:
    """Hold manifests against the schemas of the oldest and the newest Kubernetes, unknown fields refused."""
    for manifest in manifests:
        if manifest["apiVersion"].startswith("monitoring.coreos.com"):
            continue  # not Kubernetes' own; its test is below
        for version in (OLDEST, NEWEST):
            kubernetes_validate.validate(manifest, version, strict=True)


@pytest.fixture(params=TARGETS)
def manifests(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    return render(KUBERNETES / request.param)


@pytest.fixture(params=COMPONENTS)
def with_component(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[dict[str, Any]]]:
    """The base with one of the other places that models come from."""
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": "linnet",
        "resources": [os.path.relpath(KUBERNETES / "base", tmp_path)],
        "components": [os.path.relpath(KUBERNETES / "components" / request.param, tmp_path)],
    }
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    yield render(tmp_path)


def test_manifests_follow_the_schemas(manifests: list[dict[str, Any]]) -> None:
    kinds = {manifest["kind"] for manifest in manifests}
    assert {"Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy"} <= kinds
    validate(manifests)


def test_a_wrong_field_is_found() -> None:
    deployment = one(render(KUBERNETES / "base"), "Deployment")
    deployment["spec"]["template"]["spec"]["containers"][0]["livelinessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        validate([deployment])


def test_pods_pass_the_restricted_standard(manifests: list[dict[str, Any]]) -> None:
    assert one(manifests, "Namespace")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    spec = pods(manifests)["spec"]
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
    assert_restricted(spec["containers"])


def assert_restricted(containers: list[dict[str, Any]]) -> None:
    for container in containers:
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"]
        assert not context["allowPrivilegeEscalation"]
        assert context["capabilities"] == {"drop": ["ALL"]}


def test_everything_selects_the_pods(manifests: list[dict[str, Any]]) -> None:
    labels = pods(manifests)["metadata"]["labels"].items()
    assert one(manifests, "Service")["spec"]["selector"].items() <= labels
    assert one(manifests, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"].items() <= labels
    assert one(manifests, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"].items() <= labels
    for constraint in pods(manifests)["spec"]["topologySpreadConstraints"]:
        assert constraint["labelSelector"]["matchLabels"].items() <= labels
    target = one(manifests, "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    assert target["name"] == one(manifests, "Deployment")["metadata"]["name"]


def test_every_setting_is_known_and_none_is_injected(manifests: list[dict[str, Any]]) -> None:
    assert set(one(manifests, "ConfigMap")["data"]) <= set(variables())
    # The Service is named linnet: its links would set LINNET_PORT to an address.
    assert pods(manifests)["spec"]["enableServiceLinks"] is False


def test_the_grace_covers_the_slowest_request(manifests: list[dict[str, Any]]) -> None:
    spec = pods(manifests)["spec"]
    pause_s = int(spec["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1])
    deadline_s = int(one(manifests, "ConfigMap")["data"]["LINNET_TIMEOUT_MS"]) / 1000
    assert spec["terminationGracePeriodSeconds"] > pause_s + deadline_s


def test_gpu_pods_ask_for_a_gpu_and_insist_on_it() -> None:
    manifests = render(KUBERNETES / "overlays/gpu")
    container = pods(manifests)["spec"]["containers"][0]
    assert container["image"].endswith(":cuda")
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert one(manifests, "ConfigMap")["data"]["LINNET_PROVIDER"] == "cuda"


def test_models_come_from_elsewhere_too(with_component: list[dict[str, Any]]) -> None:
    validate(with_component)
    assert set(one(with_component, "ConfigMap")["data"]) <= set(variables())
    spec = pods(with_component)["spec"]
    assert_restricted(spec.get("initContainers", []))
    mounted = {mount["mountPath"]: mount for mount in spec["containers"][0]["volumeMounts"]}
    assert mounted["/models"]["readOnly"]
    assert mounted["/models"]["name"] in {volume["name"] for volume in spec["volumes"]}


def test_the_operator_scrapes_the_service() -> None:
    manifests = render(KUBERNETES / "overlays/cpu")
    monitor = one(manifests, "ServiceMonitor")["spec"]
    service = one(manifests, "Service")
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert [endpoint["port"] for endpoint in monitor["endpoints"]] == [
        port["name"] for port in service["spec"]["ports"]
    ]
    # The alerts ask for up{job="linnet"}.
    assert service["metadata"]["labels"][monitor["jobLabel"]] == "linnet"


@pytest.mark.parametrize("name", ["linnet", "triton"])
def test_kserve_pods_follow_the_schema(name: str) -> None:
    """Of an InferenceService Kubernetes knows the containers; the rest is KServe's."""
    service = read_yaml(DEPLOY / "kserve" / f"{name}.yaml")
    assert (service["apiVersion"], service["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
    predictor = service["spec"]["predictor"]
    own = {"minReplicas", "maxReplicas", "scaleMetric", "scaleTarget", "model"}
    spec = {key: value for key, value in predictor.items() if key not in own}
    if "model" in predictor:
        theirs = {"modelFormat", "runtime", "protocolVersion", "storageUri"}
        container = {key: value for key, value in predictor["model"].items() if key not in theirs}
        spec["containers"] = [{"name": "kserve-container", "image": "triton"} | container]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": service["metadata"], "spec": spec}
    validate([pod])


def test_kserve_offers_the_claim_of_the_models() -> None:
    claim = read_yaml(KUBERNETES / "components/models-from-volume/claim.yaml")
    triton = read_yaml(DEPLOY / "kserve/triton.yaml")
    assert triton["spec"]["predictor"]["model"]["storageUri"] == f"pvc://{claim['metadata']['name']}"
