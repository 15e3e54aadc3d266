"""Brings the cases of the causes to a real API server: admitted, with the statuses that others write."""

import json
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from controlplane.kubelet import logs
from controlplane.kubelet.api import PORT, PodApi
from controlplane.plane import apiserver, builds
from controlplane.plane.kubectl import Kubectl
from unit.cluster import exposition
from unit.cluster.objects import service, with_status
from unit.operate.cases import HEAD, Case

Object = dict[str, Any]

ADDRESS = "10.77.0.1"
"""Of every head: the API server is led to the stand-ins of supervisor and engine."""
NODE = "node-1"
PLURALS = {
    "InferenceService": ("apis/serving.kserve.io/v1beta1", "inferenceservices"),
    "Pod": ("api/v1", "pods"),
    "Event": ("api/v1", "events"),
    "PersistentVolumeClaim": ("api/v1", "persistentvolumeclaims"),
    "Deployment": ("apis/apps/v1", "deployments"),
}
OF_A_SERVER = ("uid", "creationTimestamp", "deletionTimestamp", "generation", "resourceVersion", "namespace")


@dataclass
class Api:
    """A kube-apiserver with KServe's definition of an InferenceService, and nobody who acts on one.

    Attributes:
        server: it.
        says: what the head's supervisor answers; None for nothing of ours.
        counts: what the head's engine answers to /metrics; None for nothing.
        log: of the head.
        made: by kind and name, the uid of what is there in the namespace of the last case.
        elsewhere: what the last case has put into another namespace.
    """

    server: apiserver.ApiServer
    says: Object | None = None
    counts: str | None = None
    log: str = ""
    made: dict[tuple[str, str], str] = field(default_factory=dict)
    elsewhere: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        config = json.loads(self.server.admin.read_text())
        self._token = config["users"][0]["user"]["token"]
        self._trust = ssl.create_default_context(
            cafile=config["clusters"][0]["cluster"]["certificate-authority"]
        )

    def supervisor(self, path: str) -> str | None:
        """What the head's supervisor answers."""
        return None if self.says is None or path != "/status" else json.dumps(self.says)

    def engine(self, path: str) -> str | None:
        """What its engine answers."""
        return None if self.counts is None else exposition.answer(path, self.counts)

    def kubeconfig(self, folder: Path, namespace: str, source: Path | None = None) -> Path:
        """Of a user in a namespace; of the one who may do everything where no other is named."""
        config = json.loads((source or self.server.admin).read_text())
        config["contexts"][0]["context"]["namespace"] = namespace
        path = folder / "kubeconfig"
        path.write_text(json.dumps(config))
        return path

    def put(self, namespace: str, case: Case) -> None:
        """A namespace with a service, and what the case changes of it."""
        self.ask("POST", "api/v1/namespaces", {"metadata": {"name": namespace}})
        self.made.clear()
        while self.elsewhere:
            self.ask("DELETE", self.elsewhere.pop(), None)
        bodies = {("InferenceService", "llm"): with_status(service())}
        bodies |= {(body["kind"], body["metadata"]["name"]): body for body in case.bodies}
        # Events last: they say which object they are about.
        for body in sorted(bodies.values(), key=lambda one: one["kind"] == "Event"):
            self.add(body, namespace)
        self.says, self.log = case.says, case.log
        self.counts = None
        if case.counts is not None:
            lines = [f'{name}{{engine="0"}} {value}' for name, value in case.counts.items()]
            self.counts = "\n".join(lines) + "\n"

    def add(self, body: Object, namespace: str) -> None:
        """One object, as its author writes it, and then its status, as a controller or kubelet does."""
        if (own := body["metadata"].get("namespace", "demo")) != "demo":
            namespace = own
        group, plural = PLURALS[body["kind"]]
        path = f"{group}/namespaces/{namespace}/{plural}"
        found = self.ask("POST", path, self._authored(body, namespace))
        name = found["metadata"]["name"]
        if own != "demo":
            self.elsewhere.append(f"{path}/{name}")
        self.made[body["kind"], name] = found["metadata"]["uid"]
        if "status" in body:
            self.ask("PATCH", f"{path}/{name}/status", {"status": _status(body)})
        if body["metadata"].get("deletionTimestamp"):
            self.ask("DELETE", f"{path}/{name}?gracePeriodSeconds=0", None)

    def _authored(self, body: Object, namespace: str) -> Object:
        """As somebody writes it: without what the server fills in, and with what it asks for."""
        made = deepcopy(body)
        made.pop("status", None)
        made["metadata"] = {key: value for key, value in made["metadata"].items() if key not in OF_A_SERVER}
        if body["kind"] == "Pod":
            for container in made["spec"]["containers"]:
                container.setdefault("image", "example.com/vllm:1")
        elif body["kind"] == "PersistentVolumeClaim":
            made["spec"] |= {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}
        elif body["kind"] == "Deployment":
            labels = made["metadata"]["labels"]
            made["spec"]["selector"] = {"matchLabels": labels}
            made["spec"]["template"]["metadata"] = {"labels": labels}
            made["spec"]["replicas"] = 0
        elif body["kind"] == "Event":
            about = made["involvedObject"]
            about["namespace"] = namespace
            if uid := self.made.get((about.get("kind", ""), about.get("name", ""))):
                about["uid"] = uid
            for key in ("firstTimestamp", "lastTimestamp"):
                made[key] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        return made

    def ask(self, method: str, path: str, body: Object | None) -> Object:
        """One request, as the user who may do everything."""
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        request = urllib.request.Request(
            f"{self.server.url}/{path}", None if body is None else json.dumps(body).encode(), method=method,
            headers={"Authorization": f"Bearer {self._token}", "Content-Type": kind},
        )  # fmt: skip
        try:
            with urllib.request.urlopen(request, timeout=60, context=self._trust) as answer:
                found: Object = json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(f"{method} {path}: {error.read().decode()}") from error
        return found


def _status(body: Object) -> Object:
    status = deepcopy(body["status"])
    if body["kind"] == "Pod":
        for one in status.get("containerStatuses") or []:
            one.setdefault("image", "example.com/vllm:1")
            one.setdefault("imageID", "")
            one.setdefault("restartCount", 0)
        if body["metadata"]["name"] == HEAD:
            status |= {"podIP": ADDRESS, "podIPs": [{"ip": ADDRESS}]}
    return dict(status)


@contextmanager
def running(folder: Path) -> Iterator[Api]:
    """The API server and the stand-ins behind a head."""
    with ExitStack() as ends:
        server = apiserver.start(folder, ends)
        tool = builds.kserve_tool(builds.DEFAULT_KSERVE)
        definitions = (builds.source(tool) / "config" / "crd" / "full").rglob(
            "serving.kserve.io_inferenceservices.yaml"
        )
        Kubectl(server.admin).apply_crds(*definitions)
        apiserver.start_controllers(server, folder, ends)
        api = Api(server)
        api.ask("POST", "api/v1/namespaces", {"metadata": {"name": "kserve"}})
        PodApi(server.admin, "default").add_node(NODE)
        kubelet = ends.enter_context(
            logs.serve(lambda pod: api.log if pod == HEAD else "", server.certificates)
        )
        server.egress.lead(NODE, PORT, kubelet)
        for port, answer in ((8081, api.supervisor), (8080, api.engine)):
            server.egress.lead(ADDRESS, port, ends.enter_context(_stand_in(answer)))
        yield api


@contextmanager
def _stand_in(answer: Callable[[str], str | None]) -> Iterator[tuple[str, int]]:
    """Answers over HTTP what there is for a path with its query."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            text = answer(self.path)
            body = (text or "").encode()
            self.send_response(404 if text is None else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield ("127.0.0.1", server.server_port)
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
