"""The few requests that kubelets and a scheduler send."""

import base64
import json
import ssl
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, Final

Body = dict[str, Any]

PORT: Final = 10250
"""Where the API server asks a kubelet for a Pod's log."""
_TIMEOUT: Final = 30.0
_GONE: Final = (404, 409)


class MissingError(Exception):
    """Something that a Pod names is not there yet; a kubelet waits for it."""


class PodApi:
    """Nodes, and the Pods and Services of one namespace, as plain data."""

    def __init__(self, kubeconfig: Path, namespace: str) -> None:
        """Read who to speak to, and as whom, from a kubeconfig of the control plane's."""
        config = json.loads(kubeconfig.read_text())
        cluster = config["clusters"][0]["cluster"]
        self._core = f"{cluster['server']}/api/v1"
        self._namespace = f"namespaces/{namespace}"
        self._trust = ssl.create_default_context(cafile=cluster["certificate-authority"])
        self._token = config["users"][0]["user"]["token"]

    def add_node(self, name: str) -> None:
        """Make a Node: Services lead to no Pod whose Node is unknown."""
        self._ask("POST", "nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
        status = {
            "addresses": [{"type": "Hostname", "address": name}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": PORT}},
        }
        self._ask("PATCH", f"nodes/{name}/status", {"status": status})

    def remove_node(self, name: str) -> None:
        """Remove a Node."""
        self._ask("DELETE", f"nodes/{name}", gone=True)

    def pods(self) -> list[Body]:
        """All Pods, those being deleted too."""
        return self._items("pods")

    def services(self) -> list[Body]:
        """All Services."""
        return self._items("services")

    @property
    def port(self) -> int:
        """The API server's."""
        return urllib.parse.urlsplit(self._core).port or 443

    def token(self, account: str) -> str:
        """A token of a service account.

        Raises:
            MissingError: the account is not there yet.
        """
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        made = self._ask("POST", f"{self._namespace}/serviceaccounts/{account}/token", body, gone=True)
        if not made:
            raise MissingError(f"there is no service account {account}")
        return str(made["status"]["token"])

    def claims(self) -> list[Body]:
        """All PersistentVolumeClaims."""
        return self._items("persistentvolumeclaims")

    def write_claim_status(self, claim: Body, status: Body) -> None:
        """Say what has become of a claim; nothing where it is gone."""
        path = f"{self._namespace}/persistentvolumeclaims/{claim['metadata']['name']}/status"
        self._ask("PATCH", path, {"status": status}, gone=True)

    def files(self, kind: str, name: str) -> dict[str, bytes] | None:
        """What a ConfigMap or Secret holds, by key; None where it is not there."""
        found = self._ask("GET", f"{self._namespace}/{kind}/{name}", gone=True)
        if not found:
            return None
        text = {key: value.encode() for key, value in (found.get("data") or {}).items()}
        if kind == "secrets":
            text = {key: base64.b64decode(value) for key, value in text.items()}
        binary = {key: base64.b64decode(value) for key, value in (found.get("binaryData") or {}).items()}
        return text | binary

    def bind(self, pod: Body, node: str) -> None:
        """Say on which node a Pod runs; what a scheduler does."""
        name = pod["metadata"]["name"]
        target = {"apiVersion": "v1", "kind": "Node", "name": node}
        binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": target}
        self._ask("POST", f"{self._namespace}/pods/{name}/binding", binding)

    def write_status(self, pod: Body, status: Body) -> None:
        """Replace the parts of a Pod's status that are given; nothing where the Pod is gone."""
        self._ask("PATCH", f"{self._path(pod)}/status", {"status": status}, gone=True)

    def forget(self, pod: Body) -> None:
        """Let go of a Pod that has ended; nothing where it is gone."""
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "gracePeriodSeconds": 0,
            "preconditions": {"uid": pod["metadata"]["uid"]},
        }
        self._ask("DELETE", self._path(pod), options, gone=True)

    def _path(self, pod: Body) -> str:
        return f"{self._namespace}/pods/{pod['metadata']['name']}"

    def _items(self, kind: str) -> list[Body]:
        items: list[Body] = self._ask("GET", f"{self._namespace}/{kind}")["items"]
        return items

    def _ask(self, method: str, path: str, body: Body | None = None, *, gone: bool = False) -> Body:
        request = urllib.request.Request(
            f"{self._core}/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {self._token}",
                "Content-Type": f"application/{'merge-patch+' if method == 'PATCH' else ''}json",
            },
        )
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT, context=self._trust) as answer:
                found: Body = json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                if gone and error.code in _GONE:
                    return {}
                raise RuntimeError(f"{method} {path}: {error.read().decode()}") from error
        return found
