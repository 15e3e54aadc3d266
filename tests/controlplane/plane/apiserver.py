"""Kubernetes without nodes: etcd, the API server, and the controllers that make objects of objects."""

import json
import secrets
import ssl
import urllib.error
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from controlplane.plane import builds
from controlplane.plane.certificates import Certificates
from controlplane.plane.egress import Egress
from controlplane.plane.processes import Program
from free_ports import free_port

_READY_TIMEOUT: Final = 120.0
_PROBE_TIMEOUT: Final = 5.0
_CONTROLLERS: Final = (
    "deployment-controller",
    "replicaset-controller",
    "statefulset-controller",
    "endpointslice-controller",
    "garbage-collector-controller",
    "namespace-controller",
    "serviceaccount-controller",
    "job-controller",
    "ttl-after-finished-controller",
    # What takes the finalizer off a claim that is deleted.
    "persistentvolumeclaim-protection-controller",
    # What adds up what a quota allows.
    "resourcequota-controller",
)


@dataclass(frozen=True)
class ApiServer:
    """A running Kubernetes API.

    Args:
        url: where it answers.
        admin: a kubeconfig of a user who may do everything.
        guest: a kubeconfig of a user who may do nothing.
        certificates: of its server; webhooks show the same one.
    egress: leads it to Pods and kubelets.
    """

    url: str
    admin: Path
    guest: Path
    certificates: Certificates
    egress: Egress


def start(folder: Path, ends: ExitStack) -> ApiServer:
    """Start etcd and kube-apiserver.

    Args:
        folder: for their data and logs; `NAME.log` each.
        ends: gets what ends them.

    Raises:
        CannotBuildError: they cannot be built here.
        StartFailedError: one of them did not become ready.
    """
    etcd, kubernetes = builds.build(builds.ETCD), builds.build(builds.KUBERNETES)
    certificates = Certificates.make(folder / "certificates")
    store = _start_etcd(etcd / "etcd", folder, ends)
    port = free_port()
    egress = Egress(folder, certificates)
    egress.start(ends)
    server = ApiServer(
        f"https://127.0.0.1:{port}",
        folder / "admin.kubeconfig",
        folder / "guest.kubeconfig",
        certificates,
        egress,
    )
    tokens = _write_users(server, folder)
    program = Program(
        "kube-apiserver",
        [
            str(kubernetes / "kube-apiserver"),
            f"--etcd-servers={store}",
            "--bind-address=127.0.0.1",
            f"--secure-port={port}",
            f"--cert-dir={folder}",
            f"--tls-cert-file={certificates.certificate}",
            f"--tls-private-key-file={certificates.key}",
            f"--token-auth-file={tokens}",
            "--authorization-mode=RBAC",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={certificates.certificate}",
            f"--service-account-signing-key-file={certificates.key}",
            # Pods would wait for the tokens of service accounts that nobody mounts here.
            "--disable-admission-plugins=ServiceAccount",
            "--endpoint-reconciler-type=none",
            f"--egress-selector-config-file={egress.configuration}",
            # All else that it does for a cluster of many is of no use to one that lives for minutes.
            "--enable-priority-and-fairness=false",
            "--profiling=false",
        ],
        folder / "kube-apiserver.log",
    )
    ends.callback(program.end)
    trust = ssl.create_default_context(cafile=str(certificates.authority))
    program.wait_until(partial(answers, f"{server.url}/readyz", trust), _READY_TIMEOUT)
    return server


def start_controllers(server: ApiServer, folder: Path, ends: ExitStack) -> None:
    """Start kube-controller-manager, once all kinds are there.

    Its garbage collector looks for new kinds every 30 s. Until it knows an owner's kind, it does not see that
    the owner is gone, and leaves what that owned.

    Args:
        server: the Kubernetes that it works in.
        folder: for its log.
        ends: gets what ends it.

    Raises:
        CannotBuildError: it cannot be built here.
        StartFailedError: it did not become ready.
    """
    program = builds.build(builds.KUBERNETES) / "kube-controller-manager"
    port = free_port()
    manager = Program(
        "kube-controller-manager",
        [
            str(program),
            f"--kubeconfig={server.admin}",
            f"--authentication-kubeconfig={server.admin}",
            f"--authorization-kubeconfig={server.admin}",
            "--bind-address=127.0.0.1",
            f"--secure-port={port}",
            f"--tls-cert-file={server.certificates.certificate}",
            f"--tls-private-key-file={server.certificates.key}",
            "--leader-elect=false",
            "--use-service-account-credentials=false",
            f"--service-account-private-key-file={server.certificates.key}",
            f"--controllers={','.join(_CONTROLLERS)}",
        ],
        folder / "kube-controller-manager.log",
    )
    ends.callback(manager.end)
    trust = ssl.create_default_context(cafile=str(server.certificates.authority))
    manager.wait_until(partial(answers, f"https://127.0.0.1:{port}/healthz", trust), _READY_TIMEOUT)


def answers(address: str, trust: ssl.SSLContext | None = None) -> bool:
    """Whether a GET gets a 200."""
    try:
        with urllib.request.urlopen(address, timeout=_PROBE_TIMEOUT, context=trust) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _start_etcd(program: Path, folder: Path, ends: ExitStack) -> str:
    clients, peers = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    etcd = Program(
        "etcd",
        [
            str(program),
            f"--data-dir={folder / 'etcd'}",
            f"--listen-client-urls={clients}",
            f"--advertise-client-urls={clients}",
            f"--listen-peer-urls={peers}",
            f"--initial-advertise-peer-urls={peers}",
            f"--initial-cluster=default={peers}",
            # What is kept for minutes need not survive a power cut.
            "--unsafe-no-fsync",
        ],
        folder / "etcd.log",
    )
    ends.callback(etcd.end)
    etcd.wait_until(partial(answers, f"{clients}/health"), _READY_TIMEOUT)
    return clients


def _write_users(server: ApiServer, folder: Path) -> Path:
    """Both kubeconfigs, and the file that tells the server who has which token."""
    admin, guest = secrets.token_urlsafe(), secrets.token_urlsafe()
    tokens = folder / "tokens.csv"
    tokens.touch(0o600)
    tokens.write_text(f'{admin},admin,admin,"system:masters"\n{guest},guest,guest\n')
    for path, token in ((server.admin, admin), (server.guest, guest)):
        path.touch(0o600)
        path.write_text(json.dumps(kubeconfig(server, token), indent=2))
    return tokens


def kubeconfig(server: ApiServer, token: str) -> dict[str, object]:
    """What a client needs to speak to the server as the bearer of a token."""
    name = "controlplane"
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [
            {
                "name": name,
                "cluster": {
                    "server": server.url,
                    "certificate-authority": str(server.certificates.authority),
                },
            }
        ],
        "users": [{"name": name, "user": {"token": token}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": "default"}}],
    }
