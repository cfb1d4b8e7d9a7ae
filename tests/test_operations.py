"""What docker/ brings for operators: it loads, and it asks only for metrics and labels that we have."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from betterdb_agent_memory.options import MemoryTelemetryOptions, TelemetryOptions
from betterdb_agent_memory.telemetry import (
    ENGINE_COUNTERS,
    create_cache_telemetry,
    create_memory_telemetry,
)

ROOT = Path(__file__).parent.parent
OBSERVABILITY = ROOT / "docker" / "observability"
DASHBOARD = OBSERVABILITY / "grafana" / "dashboards" / "agent-memory.json"
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())

WORDS = {
    *("and", "or", "unless", "by", "sum", "rate", "increase", "topk", "histogram_quantile", "offset"),
    *("__rate_interval", "__range", "store", "cache", "h", "m"),
}
"""Of the query language, and variables."""


def our_metrics() -> dict[str, set[str]]:
    """Name of each series -> its labels."""
    registry = CollectorRegistry()
    found: dict[str, set[str]] = {f"{name}_total": {"name"} for name in ENGINE_COUNTERS}
    for metrics in (
        create_memory_telemetry(MemoryTelemetryOptions(registry=registry)).metrics,
        create_cache_telemetry(TelemetryOptions(registry=registry)).metrics,
    ):
        for name in metrics.__dataclass_fields__:
            metric: Any = getattr(metrics, name)
            [family] = metric.describe()
            labels = set(metric._labelnames)
            if family.type == "histogram":
                found |= {f"{family.name}_bucket": labels | {"le"}, f"{family.name}_count": labels}
            else:
                found[family.name + ("_total" if family.type == "counter" else "")] = labels
    return found


def panels() -> Iterator[dict[str, Any]]:
    dashboard = json.loads(DASHBOARD.read_text())
    for panel in dashboard["panels"]:
        yield from (panel, *panel.get("panels", []))


def dashboard_queries() -> list[str]:
    return [target["expr"] for panel in panels() for target in panel.get("targets", [])]


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load((OBSERVABILITY / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def asked(query: str) -> tuple[set[str], set[str]]:
    """Names of series, and other names (labels), in a query."""
    bare = re.sub(r'"[^"]*"', "", query)
    names = {name for name in re.findall(r"[A-Za-z_]\w*", bare) if name not in WORDS}
    series = {name for name in names if name.startswith(("agent_", "betterdb_")) or name == "up"}
    return series, names - series


QUERIES = [*dashboard_queries(), *(alert["expr"] for alert in alerts())]


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_asks_for_metrics_and_labels_that_there_are(query: str) -> None:
    known = our_metrics() | {"up": {"job", "instance"}}
    series, labels = asked(query)
    assert series
    assert series <= set(known)
    assert labels <= {label for name in series for label in known[name]}


def test_the_dashboard_shows_every_metric() -> None:
    shown = {name for query in dashboard_queries() for name in asked(query)[0]}
    redundant = {"agent_memory_recall_latency_seconds_count", "agent_cache_operation_duration_seconds_count"}
    assert set(our_metrics()) - shown == redundant


def test_panels_have_places_of_their_own_and_a_data_source() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
        if panel["type"] != "row":
            assert panel["datasource"]["uid"] == "${datasource}"
    ids = [panel["id"] for panel in panels()]
    assert len(set(ids)) == len(ids)


def test_variables_come_from_series_that_there_are() -> None:
    for variable in json.loads(DASHBOARD.read_text())["templating"]["list"]:
        if variable["type"] == "query":
            match = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"])
            assert match is not None
            assert match[2] in our_metrics()[match[1]]


def test_annotations_name_labels_that_the_alert_has() -> None:
    for alert in alerts():
        grouped = {name.strip() for names in re.findall(r"by \(([^)]*)\)", alert["expr"]) for name in names.split(",")}
        used = set(re.findall(r"\$labels\.(\w+)", json.dumps(alert["annotations"])))
        assert used <= (grouped - {"le"} or {"instance", "job"}), alert["alert"]
        assert alert["labels"]["severity"] in ("critical", "warning", "info")
        for page in re.findall(r"docs/[\w-]+\.md", alert["annotations"]["description"]):
            assert (ROOT / page).exists(), page


def test_everything_that_is_mounted_exists_and_the_ports_are_this_machines() -> None:
    for name in ("prometheus", "grafana"):
        service = COMPOSE["services"][name]
        assert service["profiles"] == ["observability"], "a plain `up` starts the server alone"
        assert re.fullmatch(r"[\w/]+:v?\d+\.\d+\.\d+", service["image"])
        [port] = service["ports"]
        assert port.startswith(f"${{BETTERDB_{name.upper()}_BIND:-127.0.0.1}}:")
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            assert (ROOT / source).exists() if source.startswith("./") else source in COMPOSE["volumes"], volume


def test_the_paths_in_the_containers_fit_together() -> None:
    def mounted(service: str) -> dict[str, Path]:
        volumes = [volume.split(":") for volume in COMPOSE["services"][service]["volumes"]]
        return {there: ROOT / here for here, there, *_ in volumes}

    config = yaml.safe_load((OBSERVABILITY / "prometheus.yml").read_text())
    named = [*config["rule_files"], *config["scrape_configs"][0]["file_sd_configs"][0]["files"]]
    assert set(named) < set(mounted("prometheus"))
    assert config["scrape_configs"][0]["job_name"] == "agent-memory"

    provisioning = OBSERVABILITY / "grafana" / "provisioning"
    [provider] = yaml.safe_load((provisioning / "dashboards" / "dashboards.yml").read_text())["providers"]
    assert mounted("grafana")[provider["options"]["path"]] == DASHBOARD.parent
    home = COMPOSE["services"]["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{provider['options']['path']}/{DASHBOARD.name}"
    [source] = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"


def test_grafana_sends_no_usage_and_lets_nobody_log_in() -> None:
    settings = COMPOSE["services"]["grafana"]["environment"]
    assert {settings[name] for name in settings if name.startswith("GF_ANALYTICS_")} == {"false"}
    assert settings["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert settings["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"


def test_prometheus_accepts_alerts_and_queries_and_alerts_fire_when_they_should() -> None:
    if not shutil.which("promtool") and not os.environ.get("CI"):
        pytest.skip("promtool is not installed: run scripts/check_alerts.sh")
    check = subprocess.run(["bash", "scripts/check_alerts.sh"], cwd=ROOT, capture_output=True, text=True, check=False)
    if check.returncode == 2:
        pytest.skip(check.stderr)  # it could not be fetched either
    assert check.returncode == 0, check.stderr
    assert f"{len(dashboard_queries())} rules found" in check.stderr
