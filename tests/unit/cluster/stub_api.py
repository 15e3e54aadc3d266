"""A Kubernetes API on the loopback: discovery, server-side apply, list, watch, delete, pods' proxy.

It merges what is applied and knows nothing of field managers; refusals are put in by the test, in the words
of a real API server.
"""

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from unit.cluster import exposition

Object = dict[str, Any]

KINDS = {
    "v1": {
        "Namespace": ("namespaces", False),
        "Node": ("nodes", False),
        "Pod": ("pods", True),
        "Event": ("events", True),
        "Service": ("services", True),
        "Secret": ("secrets", True),
        "ConfigMap": ("configmaps", True),
        "ServiceAccount": ("serviceaccounts", True),
        "ResourceQuota": ("resourcequotas", True),
        "PersistentVolumeClaim": ("persistentvolumeclaims", True),
    },
    "rbac.authorization.k8s.io/v1": {"Role": ("roles", True), "RoleBinding": ("rolebindings", True)},
    "apps/v1": {"Deployment": ("deployments", True)},
    "batch/v1": {"Job": ("jobs", True)},
    "template.openshift.io/v1": {"Template": ("templates", True)},
    "policy/v1": {"PodDisruptionBudget": ("poddisruptionbudgets", True)},
    "networking.k8s.io/v1": {"NetworkPolicy": ("networkpolicies", True)},
    "storage.k8s.io/v1": {"StorageClass": ("storageclasses", False)},
    "serving.kserve.io/v1alpha1": {
        "ServingRuntime": ("servingruntimes", True),
        "ClusterServingRuntime": ("clusterservingruntimes", False),
    },
    "serving.kserve.io/v1beta1": {"InferenceService": ("inferenceservices", True)},
    "leaderworkerset.x-k8s.io/v1": {"LeaderWorkerSet": ("leaderworkersets", True)},
    "apiextensions.k8s.io/v1": {"CustomResourceDefinition": ("customresourcedefinitions", False)},
    "datasciencecluster.opendatahub.io/v1": {"DataScienceCluster": ("datascienceclusters", False)},
    "operators.coreos.com/v1alpha1": {"ClusterServiceVersion": ("clusterserviceversions", True)},
}
_PATH = re.compile(
    r"/(?:api/(?P<core>v1)|apis/(?P<group>[^/]+/[^/]+))"
    r"(?:/namespaces/(?P<namespace>[^/]+)(?=/[^/]))?/(?P<plural>[^/]+)(?:/(?P<name>[^/]+))?(?P<rest>/.*)?"
)


@dataclass
class Refusal:
    """What is answered instead, a number of times."""

    method: str
    path: str
    code: int
    body: bytes
    times: int = 1000
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class StubApi:
    """The state of the stand-in."""

    url: str = ""
    kinds: dict[str, dict[str, tuple[str, bool]]] = field(
        default_factory=lambda: {k: dict(v) for k, v in KINDS.items()}
    )
    objects: dict[tuple[str, str, str], Object] = field(default_factory=dict)
    changes: list[tuple[str, str, Object]] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    requests: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    heads: dict[str, Any] = field(default_factory=dict)
    logs: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, str] = field(default_factory=dict)
    version_said: str = ""
    compacted: int = 0
    watches: int = 0
    cut: threading.Event = field(default_factory=threading.Event)
    condition: threading.Condition = field(default_factory=threading.Condition)
    version: int = 100

    def refuse(self, method: str, path: str, code: int, body: Object | bytes, **more: Any) -> None:
        """Answer `code` to requests of that method whose path and query match."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.refusals.append(Refusal(method, path, code, raw, **more))

    def put(self, body: Object) -> Object:
        """Store an object as a controller would, and tell the watchers."""
        plural, namespaced = self.kinds[body["apiVersion"]][body["kind"]]
        metadata = body["metadata"]
        key = (plural, metadata.get("namespace", "demo") if namespaced else "", metadata["name"])
        with self.condition:
            self.version += 1
            known = self.objects.get(key)
            if namespaced:
                metadata["namespace"] = key[1]
            metadata.setdefault("uid", known["metadata"]["uid"] if known else f"uid-{self.version}")
            metadata.setdefault("creationTimestamp", "2026-01-01T00:00:00Z")
            metadata["resourceVersion"] = str(self.version)
            self.objects[key] = body
            self.changes.append(("MODIFIED" if known else "ADDED", plural, body))
            self.condition.notify_all()
        return body

    def remove(self, plural: str, name: str, namespace: str = "demo") -> None:
        """Let an object be gone."""
        with self.condition:
            body = self.objects.pop((plural, namespace, name))
            self.version += 1
            gone = {**body, "metadata": {**body["metadata"], "resourceVersion": str(self.version)}}
            self.changes.append(("DELETED", plural, gone))
            self.condition.notify_all()

    def get(self, plural: str, name: str, namespace: str = "demo") -> Object | None:
        """An object as it is."""
        return self.objects.get((plural, namespace, name))

    def namespace(self, name: str = "demo") -> None:
        """Make a namespace."""
        self.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})

    def written(self) -> list[tuple[str, str]]:
        """Requests that would change something, dry runs left out."""
        return [(m, p) for m, p, _, _ in self.requests if m != "GET" and "dryRun" not in p]


def status(code: int, message: str, reason: str = "", **details: Any) -> Object:
    """A Status object, as the API server answers a refusal."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "details": details,
        "code": code,
    }


def merged(old: Any, new: Any) -> Any:
    """New over old, mapping by mapping."""
    if isinstance(old, dict) and isinstance(new, dict):
        return {**old, **{key: merged(old.get(key), value) for key, value in new.items()}}
    return new


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    api: StubApi

    def log_message(self, *_: Any) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        self._serve("GET")

    def do_PATCH(self) -> None:
        self._serve("PATCH")

    def do_POST(self) -> None:
        self._serve("POST")

    def do_DELETE(self) -> None:
        self._serve("DELETE")

    def _serve(self, method: str) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.api.requests.append((method, self.path, dict(self.headers), body))
        for refusal in self.api.refusals:
            if refusal.method == method and refusal.times > 0 and re.search(refusal.path, self.path):
                refusal.times -= 1
                return self._answer(refusal.code, refusal.body, refusal.headers)
        url = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        discovered = url.path.removeprefix("/apis/").removeprefix("/api/")
        if discovered in self.api.kinds:
            return self._discovery(discovered)
        if url.path == "/version" and self.api.version_said:
            return self._json(200, {"gitVersion": self.api.version_said})
        found = _PATH.fullmatch(url.path)
        if found is None:
            return self._answer(404, b"404 page not found\n")
        if found["rest"] == "/log":
            return self._answer(200, self.api.logs.get(unquote(str(found["name"])), "").encode())
        if found["rest"] and "/proxy/" in found["rest"]:
            return self._proxy(str(found["name"]), found["rest"])
        return self._object(method, found, query, body)

    def _discovery(self, group: str) -> None:
        resources = [
            {"name": plural, "kind": kind, "namespaced": namespaced, "verbs": ["get", "list", "watch"]}
            for kind, (plural, namespaced) in self.api.kinds[group].items()
        ]
        self._json(200, {"kind": "APIResourceList", "groupVersion": group, "resources": resources})

    def _proxy(self, name: str, rest: str) -> None:
        if rest.startswith("/proxy/metrics") and unquote(name) in self.api.metrics:
            told = exposition.answer(self.path.partition("/proxy")[2], self.api.metrics[unquote(name)])
            return self._answer(404 if told is None else 200, (told or "").encode())
        head = self.api.heads.get(unquote(name))
        if callable(head):
            head = head(rest)
        if head is None:
            return self._json(503, status(503, "error trying to reach service", "ServiceUnavailable"))
        return self._json(200, head)

    def _object(self, method: str, found: re.Match[str], query: dict[str, str], body: bytes) -> None:
        plural, namespace, name = found["plural"], found["namespace"] or "", unquote(found["name"] or "")
        group = found["core"] or found["group"]
        if plural not in {entry[0] for entry in self.api.kinds.get(group, {}).values()}:
            return self._answer(404, b"404 page not found\n")
        key = (plural, namespace, name)
        if method == "PATCH":
            return self._patch(key, query, json.loads(body))
        if method == "POST":
            created = json.loads(body)
            created["metadata"].setdefault("namespace", namespace)
            return self._json(
                201, self.api.put({**created, "metadata": {**created["metadata"], "generation": 1}})
            )
        if not name:
            return (
                self._watch(plural, namespace, query)
                if "watch" in query
                else self._list(plural, namespace, query)
            )
        known = self.api.objects.get(key)
        if known is None:
            return self._json(
                404, status(404, f'{plural} "{name}" not found', "NotFound", name=name, kind=plural)
            )
        if method == "DELETE":
            if known["metadata"].get("finalizers"):
                known["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
            else:
                self.api.remove(plural, name, namespace)
        return self._json(200, known)

    def _patch(self, key: tuple[str, str, str], query: dict[str, str], body: Object) -> None:
        namespace = key[1]
        if namespace and ("namespaces", "", namespace) not in self.api.objects:
            what = status(
                404, f'namespaces "{namespace}" not found', "NotFound", name=namespace, kind="namespaces"
            )
            return self._json(404, what)
        known = self.api.objects.get(key)
        after = merged(known or {}, body)
        if known is None or after != known:
            after = json.loads(json.dumps(after))
            generation = (known or {}).get("metadata", {}).get("generation", 0)
            changed = known is None or after.get("spec") != known.get("spec")
            after["metadata"]["generation"] = generation + changed
            manager = {"manager": query["fieldManager"], "operation": "Apply", "time": "2026-01-01T00:00:00Z"}
            after["metadata"]["managedFields"] = [manager]
            if "dryRun" not in query:
                after = self.api.put(after)
        return self._json(200 if known else 201, after)

    def _selected(self, plural: str, namespace: str, query: dict[str, str], body: Object) -> bool:
        metadata = body["metadata"]
        labels = metadata.get("labels") or {}
        wanted = [part.split("=", 1) for part in query.get("labelSelector", "").split(",") if part]
        names = [
            part.split("=", 1)[1]
            for part in query.get("fieldSelector", "").split(",")
            if part and "!" not in part
        ]
        return (
            (not namespace or metadata.get("namespace") == namespace)
            and all(labels.get(key) == value[0] if value else key in labels for key, *value in wanted)
            and all(metadata["name"] == name for name in names)
        )

    def _list(self, plural: str, namespace: str, query: dict[str, str]) -> None:
        items = [
            body
            for (kind, _, _), body in self.api.objects.items()
            if kind == plural and self._selected(plural, namespace, query, body)
        ]
        start, limit = int(query.get("continue", 0)), int(query.get("limit", 500))
        metadata: Object = {"resourceVersion": str(self.api.version)}
        if start + limit < len(items):
            metadata["continue"] = str(start + limit)
        bare = [{k: v for k, v in one.items() if k not in ("kind", "apiVersion")} for one in items]
        self._json(200, {"kind": "List", "metadata": metadata, "items": bare[start : start + limit]})

    def _watch(self, plural: str, namespace: str, query: dict[str, str]) -> None:
        self.api.watches += 1
        since, until = int(query["resourceVersion"]), time.monotonic() + int(query["timeoutSeconds"])
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if since < self.api.compacted:
            self._chunk({"type": "ERROR", "object": status(410, "too old resource version", "Expired")})
            self._chunk(None)
            return
        sent = since
        while time.monotonic() < until and not self.api.cut.is_set():
            with self.api.condition:
                self.api.condition.wait(0.05)
                waiting = list(self.api.changes)
            for change, kind, body in waiting:
                version = int(body["metadata"]["resourceVersion"])
                if kind == plural and version > sent and self._selected(plural, namespace, query, body):
                    sent = version
                    if not self._chunk({"type": change, "object": body}):
                        return
        if not self.api.cut.is_set():
            self._chunk(None)
        self.close_connection = True

    def _chunk(self, body: Object | None) -> bool:
        data = b"" if body is None else json.dumps(body).encode() + b"\n"
        try:
            self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            self.wfile.flush()
        except OSError:
            return False
        return True

    def _json(self, code: int, body: Any) -> None:
        self._answer(code, json.dumps(body).encode(), {"Content-Type": "application/json"})

    def _answer(self, code: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(code)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def serving(**fields: Any) -> Iterator[StubApi]:
    """A stand-in that is up."""
    api = StubApi(**fields)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"api": api}))
    server.daemon_threads = True
    api.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield api
    finally:
        api.cut.set()
        server.shutdown()
        server.server_close()
        thread.join(5)
