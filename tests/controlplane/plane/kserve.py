"""KServe's controller with its webhooks, in the deployment mode that needs neither Knative nor Istio."""

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

NAMESPACE: Final = "kserve"
_READY_TIMEOUT: Final = 120.0
# The other controllers' webhooks; their programs do not run here.
_OTHERS: Final = ("localmodelcache.serving.kserve.io",)


def start(version: str, server: ApiServer, folder: Path, ends: ExitStack) -> None:
    """Install one version of KServe's objects and start its manager.

    Args:
        version: one of `builds.kserve_versions()`.
        server: the Kubernetes that it works in.
        folder: for its files, and its log `kserve.log`.
        ends: gets what ends it.

    Raises:
        CannotBuildError: it cannot be built here.
        StartFailedError: it did not become ready.
    """
    tool = builds.kserve_tool(version)
    program = builds.build(tool) / "manager"
    config = builds.source(tool) / "config"
    kubectl = Kubectl(server.admin)
    kubectl.apply_crds(*_crds(config / "crd" / "full"))
    kubectl.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}, _settings(config)
    )
    port, health = free_port(), free_port()
    manager = Program(
        "kserve",
        [
            str(program),
            f"--webhook-port={port}",
            "--metrics-addr=0",
            f"--health-probe-addr=127.0.0.1:{health}",
        ],
        folder / "kserve.log",
        {
            "KUBECONFIG": str(server.admin),
            "POD_NAMESPACE": NAMESPACE,
            # Where it looks for its serving certificate.
            "TMPDIR": str(_temporary(server, folder)),
        },
    )
    ends.callback(manager.end)
    manager.wait_until(partial(answers, f"http://127.0.0.1:{health}/readyz"), _READY_TIMEOUT)
    documents = yaml.safe_load_all((config / "webhook" / "manifests.yaml").read_text())
    kubectl.apply(*webhooks.local(documents, port, server.certificates, without=_OTHERS))


def _crds(folder: Path) -> list[Path]:
    """The files that hold a CRD; the others are for kustomize."""
    return sorted(folder.rglob("serving.kserve.io_*.yaml"))


def _settings(config: Path) -> dict[str, Any]:
    """KServe's own ConfigMap, with Deployments as the default mode and no ingress."""
    body: dict[str, Any] = yaml.safe_load((config / "configmap" / "inferenceservice.yaml").read_text())
    body["metadata"]["namespace"] = NAMESPACE
    data = body["data"]
    del data["_example"]
    data["deploy"] = json.dumps({"defaultDeploymentMode": "RawDeployment"})
    data["ingress"] = json.dumps({**json.loads(data["ingress"]), "disableIngressCreation": True})
    return body


def _temporary(server: ApiServer, folder: Path) -> Path:
    temporary = folder / "kserve"
    certificates = temporary / "k8s-webhook-server" / "serving-certs"
    certificates.mkdir(parents=True)
    for source in (server.certificates.certificate, server.certificates.key):
        (certificates / source.name).symlink_to(source)
    return temporary
