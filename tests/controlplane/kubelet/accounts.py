"""What a Pod that asks for its service account's token finds: the token, and a way to the Kubernetes API."""

import sys
from pathlib import Path
from typing import Final

from controlplane.kubelet import relay
from controlplane.kubelet.api import Body, PodApi
from controlplane.plane.egress import Egress
from vllm_multinode.local.world.pod_spec import HostMount, PodSpec

_FOLDER: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_SOCKETS: Final = Path("/run/apiserver")


def wanted(pod: Body) -> bool:
    """Whether the Pod asks for it in so many words; no Pod of a released service does."""
    return pod["spec"].get("automountServiceAccountToken") is True


def with_account(spec: PodSpec, pod: Body, api: PodApi, egress: Egress, folder: Path) -> PodSpec:
    """The Pod with the token of its service account.

    Args:
        spec: without.
        pod: as the API server has it.
        api: the API server.
        egress: leads to it.
        folder: of this Pod, for the token.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name = pod["spec"].get("serviceAccountName") or "default"
    (folder / "token").write_text(api.token(name))
    (folder / "namespace").write_text(pod["metadata"]["namespace"])
    (folder / "ca.crt").write_bytes(egress.certificates.authority.read_bytes())
    program = (sys.executable, relay.__file__, str(_SOCKETS / egress.socket.name), str(api.port))
    mounts = (
        HostMount(source=folder, target=_FOLDER),
        HostMount(source=egress.socket.parent, target=_SOCKETS),
    )
    env = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(api.port)}
    return spec.model_copy(
        update={"argv": (*program, *spec.argv), "env": spec.env | env, "mounts": (*spec.mounts, *mounts)}
    )
