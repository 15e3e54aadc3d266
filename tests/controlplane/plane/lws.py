"""LeaderWorkerSet's controller with its webhooks."""

import json
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Final

import yaml

from controlplane.plane import builds, webhooks
from controlplane.plane.apiserver import ApiServer, answers
from controlplane.plane.kubectl import Kubectl
from controlplane.plane.processes import Program
from free_ports import free_port

_READY_TIMEOUT: Final = 120.0


def start(server: ApiServer, folder: Path, ends: ExitStack) -> None:
    """Install LeaderWorkerSet's CRD and start its controller.

    Args:
        server: the Kubernetes that it works in.
        folder: for its files, and its log `lws.log`.
        ends: gets what ends it.

    Raises:
        CannotBuildError: it cannot be built here.
        StartFailedError: it did not become ready.
    """
    program = builds.build(builds.LWS) / "lws"
    config = builds.source(builds.LWS) / "config"
    kubectl = Kubectl(server.admin)
    kubectl.apply_crds(config / "crd" / "bases")
    port, health = free_port(), free_port()
    settings = folder / "lws.json"
    settings.write_text(json.dumps(_settings(server, port, health)))
    controller = Program(
        "lws",
        [str(program), f"--config={settings}"],
        folder / "lws.log",
        {"KUBECONFIG": str(server.admin)},
    )
    ends.callback(controller.end)
    controller.wait_until(partial(answers, f"http://127.0.0.1:{health}/readyz"), _READY_TIMEOUT)
    kubectl.apply(*webhooks.local(_webhooks(config / "webhook"), port, server.certificates))


def _settings(server: ApiServer, port: int, health: int) -> dict[str, Any]:
    return {
        "apiVersion": "config.lws.x-k8s.io/v1alpha1",
        "kind": "Configuration",
        "leaderElection": {"leaderElect": False},
        "internalCertManagement": {"enable": False},
        "webhook": {"port": port, "certDir": str(server.certificates.certificate.parent)},
        "metrics": {"bindAddress": "0"},
        "health": {"healthProbeBindAddress": f"127.0.0.1:{health}"},
    }


def _webhooks(folder: Path) -> list[dict[str, Any]]:
    """As its kustomization makes them: those for pods are for its own pods only."""
    documents = [body for body in yaml.safe_load_all((folder / "manifests.yaml").read_text()) if body]
    for body in documents:
        kind = body["kind"].removesuffix("WebhookConfiguration").lower()
        body["metadata"]["name"] = f"lws-{body['metadata']['name']}"
        [patch] = yaml.safe_load((folder / f"{kind}-patch.yaml").read_text())
        body["webhooks"][1] = patch["value"]
    return documents
