"""Alerts and dashboard ask for metrics and labels that exist."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from manifests.folders import COMPONENTS, ROOT, load, walk
from vllm_multinode.launcher.states import State

FOLDER = COMPONENTS / "monitoring"
DATA = ROOT / "tests/data"
# As the supervisors' numbers() name them; test_names_are_the_supervisors holds them to the source.
SUPERVISOR = {"state", "ready", "nodes", "members", "epoch", "recoveries_total", "refused_total"}
SUPERVISOR |= {"authenticated", "connections_ended_total"}
VLLM = set((DATA / "vllm_metric_names.txt").read_text().split())
KUBE_STATE = {"kube_pod_container_status_restarts_total"}


def expressions() -> Iterator[tuple[str, str]]:
    """Every PromQL expression, with the alert or panel that it is of."""
    (rules,) = load(FOLDER / "alerts.yaml")
    for rule in rules["spec"]["groups"][0]["rules"]:
        yield rule["alert"], rule["expr"]
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]


def dashboard() -> Any:
    return json.loads((FOLDER / "dashboard.json").read_text())


def metrics(expression: str) -> set[str]:
    found = re.findall(r"\b(multinode_\w+|vllm:\w+|kube_\w+)", expression)
    return {re.sub(r"_(bucket|sum|count)$", "", one) if one.startswith("vllm:") else one for one in found}


@pytest.mark.parametrize(("of", "expression"), list(expressions()), ids=lambda one: one[:30])
def test_every_metric_exists(of: str, expression: str) -> None:
    known = {f"multinode_{one}" for one in SUPERVISOR} | VLLM | KUBE_STATE
    assert metrics(expression), of
    assert metrics(expression) <= known
    assert set(re.findall(r'state="(\w+)"', expression)) <= {one.value for one in State}
    assert set(re.findall(r'role="(\w+)"', expression)) <= {"head", "worker"}
    assert expression.count("(") == expression.count(")")
    assert expression.count("{") == expression.count("}")


def test_names_are_the_supervisors() -> None:
    launcher = ROOT / "runtime/vllm_multinode/launcher"
    named = {"state"}
    for file, function in (("head.py", "def numbers("), ("node.py", "def common_numbers(")):
        _, _, body = (launcher / file).read_text().partition(function)
        named |= set(re.findall(r'"(\w+)": float', body))
    assert named == SUPERVISOR


def test_the_dashboard_shows_stages_restarts_states_latency() -> None:
    asked = {one for _, expression in expressions() for one in metrics(expression)}
    titles = {panel["title"] for panel in dashboard()["panels"]}
    assert {"State of each node", "Restarts of containers", "Recoveries", "Time to first token"} <= titles
    assert {"vllm:request_queue_time_seconds", "vllm:request_prefill_time_seconds"} <= asked
    (states,) = [panel for panel in dashboard()["panels"] if panel["title"] == "State of each node"]
    shown = [one["text"] for one in states["fieldConfig"]["defaults"]["mappings"][0]["options"].values()]
    assert shown == [one.value for one in State]


def test_panels_do_not_overlap() -> None:
    cells = [
        (x, y)
        for panel in dashboard()["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) == 23


def test_every_alert_says_what_to_do() -> None:
    (rules,) = load(FOLDER / "alerts.yaml")
    for rule in rules["spec"]["groups"][0]["rules"]:
        assert rule["annotations"].keys() == {"summary", "runbook"}
        assert rule["labels"]["severity"] in ("info", "warning", "critical")


def test_pods_are_found_by_labels_that_they_have() -> None:
    known = {"serving.kserve.io/inferenceservice", "app.kubernetes.io/component"}
    for monitor in load(FOLDER / "podmonitors.yaml"):
        for path, value in walk(monitor):
            if path and path[-1] == "matchLabels":
                assert set(value) <= known
