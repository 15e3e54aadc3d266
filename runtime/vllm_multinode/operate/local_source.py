"""Looks at runs of this machine: their nodes stand for pods, in the words that the Kubernetes API has."""

import contextlib
import json
import os
import platform
import socket
import ssl
import time
import urllib.error
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from vllm_multinode.cluster.snapshot import WORKER_INDEX, Snapshot
from vllm_multinode.cluster.supervisor import metrics_path, read_status
from vllm_multinode.cluster.transport import Object
from vllm_multinode.contract import env
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.local.loopback import opener, trust
from vllm_multinode.local.run.client import RunClient
from vllm_multinode.local.rundir import RunDirectory, RunInfo, Runs
from vllm_multinode.local.world.protocol import NodeStatus, RunStatus
from vllm_multinode.operate.numbers import Numbers
from vllm_multinode.operate.observation import Observation
from vllm_multinode.operate.source import WayIn

if TYPE_CHECKING:
    from vllm_multinode.operate.log_streams import Streams

KIND: Final = "LocalRun"
_NAMESPACE: Final = "local"
_ANSWER: Final = 1.5
_LOG_LINES: Final = 600


class LocalSource:
    """The runs of this user."""

    def __init__(self, runs: Runs | None = None) -> None:
        self._runs = runs or Runs.of_this_user()

    def observe(
        self, name: str = "", labels: str = "", *, deep: bool = False, counters: Sequence[str] = ()
    ) -> list[Observation]:
        """Look at one run, or at all.

        Raises:
            MultinodeError: USAGE for a label; LOCAL_RUN: there is no such run.
        """
        if labels:
            raise MultinodeError(ExitCode.USAGE, "runs on this machine have no labels.", where="-l")
        directories = [self._runs.find(name)] if name else self._runs.living()
        if not directories:
            self._runs.find(None)
        return [self._observe(directory, deep=deep, counters=counters) for directory in directories]

    def streams(self, seen: Observation, since: float, *, several: bool) -> "Streams":
        """The logs of a run's nodes."""
        from vllm_multinode.operate.log_streams import LocalStreams

        return LocalStreams(
            seen.snapshot.name, self._runs, since, prefix=f"{seen.snapshot.name}/" if several else ""
        )

    def platform(self) -> Mapping[str, str]:
        """This machine's kernel, CPUs and memory."""
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
        return {
            "kernel": platform.release(),
            "cpus": str(os.cpu_count()),
            "memory": f"{memory:.1f} GiB",
        }

    def ask(self, seen: Observation, prompt: str, tokens: int) -> tuple[str, str]:
        """A greedy completion, and the engine's fingerprint."""
        from vllm_multinode.local.run.ask import ask

        info = self._runs.find(seen.snapshot.name).info
        if info is None:
            raise MultinodeError(ExitCode.LOCAL_RUN, "has no API.", where=seen.title)
        answer = ask(info.url, prompt, tokens=tokens, key=os.environ.get(env.API_KEY))
        return answer.text, answer.fingerprint

    def way_in(self, seen: Observation) -> WayIn:
        """The API's address on this machine."""
        info = self._runs.find(seen.snapshot.name).info
        if info is None:
            raise MultinodeError(ExitCode.LOCAL_RUN, "has no API.", where=seen.title)
        return WayIn(url=info.url, model=info.model)

    def _observe(self, directory: RunDirectory, *, deep: bool, counters: Sequence[str]) -> Observation:
        status, info = RunClient(directory.control).status(), directory.info
        supervisors, engines = _asked(status, info, counters)
        heads = {pod: read_status(found) for pod, found in supervisors.items() if "members" in found}
        place = Path(info.logs) if info is not None else directory.logs
        logs: dict[str, str] = {}
        if deep:
            written = {node.pod: place / f"{node.pod}.log" for node in status.nodes}
            logs = {pod: _last_lines(path) for pod, path in written.items() if path.is_file()}
        # The service is called what --name said, the run what --run said.
        return Observation(
            snapshot=Snapshot(
                kind=KIND,
                name=directory.name,
                namespace=_NAMESPACE,
                service=_service(directory.name, info),
                pods=[_pod(node) for node in status.nodes],
                heads=heads,
                age=time.time() - info.started if info is not None else 0.0,
            ),
            now=time.time(),
            place="local",
            supervisors=supervisors,
            engines=engines,
            cut=frozenset(node.node for node in status.nodes if node.cut),
            logs=logs,
            entrance=_entrance(info),
        )


def _last_lines(path: Path) -> str:
    from vllm_multinode.operate.log_streams import end_of

    return "\n".join(end_of(path, 0)[0].splitlines()[-_LOG_LINES:])


def _entrance(info: RunInfo | None) -> tuple[str, ...]:
    if info is None:
        return ()
    return info.request, f"curl {info.supervisor_url}/status"


def _asked(
    status: RunStatus, info: RunInfo | None, counters: Sequence[str]
) -> tuple[dict[str, Mapping[str, Any]], dict[str, Numbers | None]]:
    """What the head says of all, what the runner says of each, and what the engine counts."""
    supervisors: dict[str, Mapping[str, Any]] = {node.pod: _said(node) for node in status.nodes}
    engines: dict[str, Numbers | None] = {}
    head = status.head
    if info is None or head is None or head.process != "running" or head.cut:
        return supervisors, engines
    try:
        found = json.loads(get(f"{info.supervisor_url}/status"))
    except (OSError, ValueError, RecursionError):
        return supervisors, engines
    if isinstance(found, dict) and isinstance(found.get("state"), str):
        supervisors[head.pod] = found
    if supervisors[head.pod].get("state") not in ("serving", "draining"):
        return supervisors, engines
    try:
        engines[head.pod] = _counted(info.url, counters)
    except _WantsCertificateError:
        # It answers: it is not silent, and its counters are not seen.
        pass
    except OSError:
        engines[head.pod] = None
    return supervisors, engines


class _StatusError(OSError):
    """An answer that is not 200."""


class _WantsCertificateError(Exception):
    """An API that lets nobody in who presents no certificate."""


def _counted(url: str, counters: Sequence[str]) -> Numbers:
    """An engine's counters; all where it does not select, or selected none.

    Raises:
        OSError: no answer.
    """
    if counters:
        with contextlib.suppress(_StatusError):
            found = Numbers.read(_metrics(url, metrics_path(counters)))
            if found.samples:
                return found
    return Numbers.read(_metrics(url, metrics_path()))


def _metrics(url: str, path: str) -> str:
    """An engine's counters, over TLS where it does not speak without.

    Raises:
        OSError: no answer.
    """
    try:
        return get(f"{url}/{path}")
    except OSError as plain:
        try:
            return get(f"{url.replace('http:', 'https:', 1)}/{path}")
        except OSError as error:
            late = isinstance(getattr(error, "reason", error), TimeoutError)
            if not late and _wants_certificate(url):
                raise _WantsCertificateError from error
            raise plain from error


def _wants_certificate(url: str) -> bool:
    """Whether its handshake ends for want of a client's certificate.

    Nothing is sent: who closes a connection with a request unread in it may take the alert along.
    """
    address = urlsplit(url)
    try:
        with (
            socket.create_connection((address.hostname or "", address.port or 0), _ANSWER) as connection,
            trust().wrap_socket(connection) as secured,
        ):
            secured.recv(1)
    except ssl.SSLError as error:
        return any(word in str(error) for word in ("CERTIFICATE_REQUIRED", "HANDSHAKE_FAILURE"))
    except OSError:
        pass
    return False


def _said(node: NodeStatus) -> dict[str, Any]:
    """A node as its supervisor, or where that cannot speak the runner, describes it."""
    state = node.state if node.process == "running" and node.state else node.process
    reason = "its network link is down" if node.cut else node.reason
    if node.termination and node.process in ("dead", "restarting"):
        reason = node.termination
    found: dict[str, Any] = {"state": state, "reason": reason, "since": node.since}
    if node.loading is not None:
        found["loading"] = node.loading.model_dump()
    return found | ({"rank": node.rank} if node.rank is not None else {})


def _service(name: str, info: RunInfo | None) -> Object:
    """A run has no controller whose word counts: its nodes alone do."""
    return {
        "kind": KIND,
        "metadata": {"name": name},
        "spec": {"replicas": 1},
        "status": {
            "conditions": [{"type": "Available", "status": "True"}],
            "url": "" if info is None else info.url,
            "readyReplicas": 1,
            "updatedReplicas": 1,
        },
    }


def _pod(node: NodeStatus) -> Object:
    """A node as the kubelet would describe it."""
    up = node.process in ("running", "frozen", "stopping")
    ready = node.process == "running" and node.state == "serving" and not node.cut
    ended = {"exitCode": node.exit_code, "message": node.termination} if node.exit_code is not None else None
    container: dict[str, Any] = {
        "name": "kserve-container",
        "ready": ready,
        "started": up,
        "restartCount": node.restarts,
        "state": {"running": {}},
    }
    if ended is not None:
        container["lastState"] = {"terminated": ended}
    if node.process == "restarting":
        container["state"] = {"waiting": {"reason": "CrashLoopBackOff"}}
    elif node.process == "dead":
        container["state"] = {"terminated": ended or {"exitCode": 0}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": node.pod,
            "namespace": _NAMESPACE,
            "uid": node.pod,
            "labels": {WORKER_INDEX: "0" if node.role == "head" else node.node.rpartition("-")[2]},
        },
        "spec": {"nodeName": node.node, "containers": []},
        "status": {
            "phase": "Running" if up else "Pending",
            "podIP": node.address,
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
            "containerStatuses": [container],
        },
    }


def get(url: str, timeout: float = _ANSWER) -> str:
    """The body of an answer 200.

    Raises:
        OSError: no answer, or another one.
    """
    try:
        with opener().open(url, timeout=timeout) as answer:
            body: bytes = answer.read()
            if answer.status != HTTPStatus.OK:
                raise _StatusError(f"HTTP {answer.status}")
    except urllib.error.HTTPError as error:
        with error:
            raise _StatusError(f"HTTP {error.code}") from error
    return body.decode(errors="replace")
