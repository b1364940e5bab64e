"""Prometheus, its alerts and the Grafana dashboard: they name metrics that the service has, and get data for them."""

from __future__ import annotations

import json
import math
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from service.metrics import Metrics
from tests.deploy.files import DEPLOY, free_port, output_of, read_yaml, tool
from tests.service.bundles import png, write_model
from tests.service.running import ServerProcess

pytestmark = pytest.mark.alone

PROMETHEUS = DEPLOY / "prometheus"
DASHBOARD = json.loads((DEPLOY / "grafana" / "dashboards" / "linnet.json").read_text(encoding="utf-8"))
RULES = read_yaml(PROMETHEUS / "alerts.yml")["groups"][0]["rules"]
RECORDED = {rule["record"] for rule in RULES if "record" in rule}
SUFFIXES = {"counter": ("_total", "_created"), "histogram": ("_bucket", "_sum", "_count", "_created"), "gauge": ("",)}

# What Grafana puts in place of its variables.
VARIABLES = {"$__rate_interval": "20s", "$instance": ".*", "$model": ".*"}


def queries() -> Iterator[str]:
    """Every query of the dashboard, as Grafana sends it."""
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            query = target["expr"]
            for name, value in VARIABLES.items():
                query = query.replace(name, value)
            assert "$" not in query
            yield query


def metrics_in(query: str) -> set[str]:
    """Return the names of the series that a PromQL expression reads."""
    query = re.sub(r'"[^"]*"|\{[^}]*\}|\[[^\]]*\]', " ", query)
    query = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\b\s*(\([^)]*\))?", " ", query)
    query = re.sub(r"\b(offset\s+\w+|and|or|unless|bool)\b", " ", query)
    return set(re.findall(r"\b[a-zA-Z_][\w:]*\b(?!\s*\()", query))


def service_metrics() -> set[str]:
    """Return the names of the series that the service offers."""
    families = list(Metrics().registry.collect())
    assert families
    return {family.name + suffix for family in families for suffix in SUFFIXES[family.type]}


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ('sum by (le) (rate(a_bucket{x="b"}[5m])) / on (model) group_left c:d', {"a_bucket", "c:d"}),
        ("a offset 1d > 0.5 and on (model) sum(b)", {"a", "b"}),
    ],
)
def test_names_are_found_in_queries(query: str, names: set[str]) -> None:
    assert metrics_in(query) == names


def test_the_dashboard_and_the_alerts_name_metrics_of_the_service() -> None:
    known = service_metrics() | RECORDED | {"up"}
    shown = set().union(*map(metrics_in, queries()))
    alerted = set().union(*(metrics_in(rule["expr"]) for rule in RULES))
    assert (shown | alerted) - known == set()
    variables = " ".join(variable["query"]["query"] for variable in DASHBOARD["templating"]["list"])
    assert set(re.findall(r"label_values\((\w+),", variables)) <= known


def test_the_dashboard_leaves_no_metric_out() -> None:
    """A metric of ours that nobody looks at is not worth counting."""
    shown = set().union(*map(metrics_in, queries()))
    bases = {re.sub(r"_(bucket|sum|count|total)$", "", name) for name in shown}
    ours = {family.name for family in Metrics().registry.collect() if family.name.startswith("linnet_")}
    assert len(ours) > 10
    assert ours - bases == set()


def test_the_autoscaler_reads_a_metric_of_the_service() -> None:
    folder = DEPLOY / "kubernetes" / "components" / "monitoring"
    (patch,) = read_yaml(folder / "kustomization.yaml")["patches"]
    name = yaml.safe_load(patch["patch"])[0]["value"]["pods"]["metric"]["name"]
    assert name in service_metrics()
    (rule,) = read_yaml(folder / "prometheus-adapter.values.yaml")["rules"]["custom"]
    assert rule["name"]["as"] == name
    assert rule["seriesQuery"].startswith(name)


def test_prometheus_accepts_its_configuration() -> None:
    output_of(tool("promtool"), "check", "config", str(PROMETHEUS / "prometheus.yml"))


def test_every_alert_has_a_test() -> None:
    tests = (PROMETHEUS / "alerts.test.yml").read_text(encoding="utf-8")
    assert [rule["alert"] for rule in RULES if "alert" in rule and f"{rule['alert']}\n" not in tests] == []


def test_alerts_fire_when_they_are_due_and_not_before() -> None:
    output_of(tool("promtool"), "test", "rules", str(PROMETHEUS / "alerts.test.yml"))


def test_grafana_finds_what_it_is_given() -> None:
    compose = read_yaml(DEPLOY.parent / "docker-compose.yml")["services"]["grafana"]
    (provider,) = read_yaml(DEPLOY / "grafana/provisioning/dashboards/linnet.yaml")["providers"]
    (source,) = read_yaml(DEPLOY / "grafana/provisioning/datasources/prometheus.yaml")["datasources"]
    assert f"./deploy/grafana/dashboards:{provider['options']['path']}:ro" in compose["volumes"]
    assert source["url"] == "http://prometheus:9090"
    assert {panel["datasource"]["uid"] for panel in DASHBOARD["panels"] if "datasource" in panel} == {source["uid"]}


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Prometheus, with our configuration, that has seen a service answer and refuse."""
    program = tool("prometheus")
    folder = tmp_path_factory.mktemp("prometheus")
    write_model(folder / "models")
    port = free_port()
    with ServerProcess(folder / "models") as server:
        config = read_yaml(PROMETHEUS / "prometheus.yml")
        (job,) = config["scrape_configs"]
        del job["dns_sd_configs"]  # the only thing that differs: there is no compose network to ask
        job["static_configs"] = [{"targets": [server.url.removeprefix("http://")]}]
        config["global"] |= {"scrape_interval": "1s", "evaluation_interval": "1s"}
        config["rule_files"] = [str(PROMETHEUS / "alerts.yml")]
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        process = subprocess.Popen(
            [
                program,
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stderr=subprocess.DEVNULL,
        )
        try:
            address = f"http://127.0.0.1:{port}"
            _ask_until_seen(server.url, address)
            yield address
        finally:
            process.kill()
            process.wait()


def _ask_until_seen(service: str, prometheus: str) -> None:
    """Send images, good and bad, until Prometheus has scraped twice with all of them."""
    for _ in range(60):
        for colour in ("red", "green", "blue"):
            httpx.post(f"{service}/predict", files={"file": png(colour)}).raise_for_status()
        assert httpx.post(f"{service}/predict", files={"file": b"no image"}).status_code == 415
        time.sleep(0.5)
        try:
            if all(value > 0 for _, value in ask(prometheus, 'rate(linnet_images_total{outcome="answered"}[20s])')):
                return
        except (httpx.TransportError, LookupError):
            continue
    raise AssertionError("Prometheus saw nothing of the service")


def ask(prometheus: str, query: str) -> list[tuple[dict[str, str], float]]:
    """Return the series that a query gives now; raises `LookupError` where there is none."""
    answer: dict[str, Any] = httpx.get(f"{prometheus}/api/v1/query", params={"query": query}).json()
    assert answer["status"] == "success", answer
    if not (series := answer["data"]["result"]):
        raise LookupError(query)
    return [(one["metric"], float(one["value"][1])) for one in series]


@pytest.mark.e2e
def test_every_query_of_the_dashboard_gets_data(prometheus: str) -> None:
    for query in queries():
        assert not any(math.isnan(value) for _, value in ask(prometheus, query)), query


@pytest.mark.e2e
def test_every_rule_is_evaluated_without_error(prometheus: str) -> None:
    (group,) = httpx.get(f"{prometheus}/api/v1/rules").json()["data"]["groups"]
    assert len(group["rules"]) == len(RULES)
    assert {rule["health"] for rule in group["rules"]} <= {"ok", "unknown"}
    (target,) = httpx.get(f"{prometheus}/api/v1/targets").json()["data"]["activeTargets"]
    assert (target["health"], target["labels"]["job"]) == ("up", "linnet")


def test_the_file_of_the_dashboard_is_in_its_folder() -> None:
    home = read_yaml(DEPLOY.parent / "docker-compose.yml")["services"]["grafana"]["environment"]
    name = Path(home["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]).name
    assert (DEPLOY / "grafana" / "dashboards" / name).is_file()
