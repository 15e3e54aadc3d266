"""What the head's supervisor and its engine say, asked through the API server."""

import json
import ssl
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlencode

from vllm_multinode.cluster import forward
from vllm_multinode.cluster.client import Cluster
from vllm_multinode.cluster.transport import Object
from vllm_multinode.contract import env, ports
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.contract.frozen import Frozen
from vllm_multinode.contract.numbers import is_count
from vllm_multinode.launcher.tls import ApiTls, api_tls

_STATUS_TIMEOUT: Final = 3.0
_ASK_TIMEOUT: Final = 120.0


class Member(Frozen):
    """One node of the group, as its head knows it."""

    name: str
    rank: int
    state: str
    weights: str = ""
    """Files that its engine has loaded, of all, such as 3/8; empty where it loads none."""


class HeadStatus(Frozen):
    """A head's `/status`, as far as it is shown.

    Attributes:
        state: of the group; see the states in docs/reference.md.
        reason: why, where it is not serving.
        nodes: the group has when it is complete.
        members: that are there, the head first.
    """

    state: str
    reason: str = ""
    nodes: int = 0
    members: tuple[Member, ...] = ()


def head_status(cluster: Cluster, pod: Object) -> HeadStatus | None:
    """What the head's supervisor answers; None where it does not answer, or is not ours.

    Raises:
        MultinodeError: FORBIDDEN where the login may not use the pods' proxy; or the API is not reached.
    """
    found = supervisor_status(cluster, pod)
    return None if found is None else read_status(found)


def supervisor_status(
    cluster: Cluster, pod: Object, timeout: float = _STATUS_TIMEOUT
) -> dict[str, Any] | None:
    """All that a supervisor answers to `/status`; None where it does not answer, or is not ours.

    Raises:
        MultinodeError: FORBIDDEN where the login may not use the pods' proxy; or the API is not reached.
    """
    metadata = pod["metadata"]
    port = _port(pod, env.SUPERVISOR_PORT, ports.SUPERVISOR)
    code, body = cluster.ask_pod(
        str(metadata["namespace"]), str(metadata["name"]), port, "status", timeout=timeout
    )
    try:
        found = json.loads(body) if code == HTTPStatus.OK else None
    except (ValueError, RecursionError):
        return None
    # Something else may answer on that port.
    return found if isinstance(found, dict) and isinstance(found.get("state"), str) else None


def metrics_path(counters: Sequence[str] = ()) -> str:
    """Where an engine tells its counters, without the first slash.

    Args:
        counters: to tell no others, which spares the engine most of the work; all where empty.
    """
    # vLLM's route for /metrics itself tells all, whatever is asked; the application mounted below it selects.
    selected = urlencode([("name[]", counter) for counter in counters])
    return f"metrics/?{selected}" if selected else "metrics"


def engine_metrics(
    cluster: Cluster, pod: Object, timeout: float = _STATUS_TIMEOUT, counters: Sequence[str] = ()
) -> str | None:
    """The counters of the head's engine; None where it does not answer, empty where it refuses to select.

    Args:
        cluster: of the pod.
        pod: the head.
        timeout: seconds.
        counters: that are needed; all where empty.

    Raises:
        MultinodeError: FORBIDDEN where the login may not use the pods' proxy; or the API is not reached.
    """
    metadata = pod["metadata"]
    port, tls = api_port(pod), speaks_tls(pod)
    path = metrics_path(counters)
    code, body = cluster.ask_pod(
        str(metadata["namespace"]), str(metadata["name"]), port, path, timeout=timeout, tls=tls
    )
    if code == HTTPStatus.OK:
        return body.decode(errors="replace")
    return "" if counters and code < HTTPStatus.INTERNAL_SERVER_ERROR else None


def api_port(pod: Object) -> int:
    """Where the head's API listens."""
    return _port(pod, env.PORT, ports.API)


def speaks_tls(pod: Object) -> bool:
    """Whether the head's API speaks TLS itself."""
    return _tls(pod) is not None


def wants_client_certificate(pod: Object) -> bool:
    """Whether the head's API lets nobody in who presents no certificate, as the API server does not."""
    tls = _tls(pod)
    return tls is not None and tls.wanted == ssl.CERT_REQUIRED


def read_status(found: Mapping[str, Any]) -> HeadStatus | None:
    """What of a head's `/status` a snapshot holds; None where it is not of that shape."""
    try:
        return _read(found)
    except (ValueError, TypeError, OverflowError):
        return None


def _read(found: Mapping[str, Any]) -> HeadStatus:
    members = [
        Member(
            name=str(one.get("name")),
            rank=int(one.get("rank") or 0),
            state=str(one.get("state")),
            weights=_weights(one.get("loading")),
        )
        for one in found.get("members") or []
        if isinstance(one, dict)
    ]
    return HeadStatus(
        state=str(found["state"]),
        reason=str(found.get("reason") or found.get("refused") or ""),
        nodes=int(found.get("nodes") or 0),
        members=tuple(members),
    )


def _weights(loading: object) -> str:
    if not isinstance(loading, dict):
        return ""
    return f"{int(loading.get('done') or 0)}/{int(loading.get('total') or 0)}"


def completion(cluster: Cluster, pod: Object, prompt: str, *, tokens: int = 32) -> str:
    """What the model goes on with, from the head's own API, with the API key where it asks for one.

    Raises:
        MultinodeError: NOT_SERVING with what the engine said; FORBIDDEN where the key may not be read.
    """
    return completion_of(cluster, pod, prompt, tokens=tokens)[0]


def completion_of(cluster: Cluster, pod: Object, prompt: str, *, tokens: int) -> tuple[str, str]:
    """The same, with the engine's own fingerprint behind it.

    Raises:
        MultinodeError: NOT_SERVING with what the engine said; FORBIDDEN where the key may not be read.
    """
    key = forward.api_key(cluster, pod)
    listed = _engine(cluster, pod, "v1/models", None, key)
    model = str(_first(listed.get("data")).get("id"))
    body = {"model": model, "prompt": prompt, "max_tokens": tokens, "temperature": 0}
    answer = _engine(cluster, pod, "v1/completions", body, key)
    text = str(_first(answer.get("choices")).get("text") or "")
    return text, str(answer.get("system_fingerprint") or "")


def _first(found: object) -> dict[str, Any]:
    """The first object of a list; an empty one where there is none."""
    if isinstance(found, list) and found and isinstance(found[0], dict):
        return found[0]
    return {}


def _engine(
    cluster: Cluster, pod: Object, path: str, body: dict[str, Any] | None, key: str | None
) -> dict[str, Any]:
    metadata = pod["metadata"]
    port, tls = api_port(pod), speaks_tls(pod)
    if key is None:
        code, data = cluster.ask_pod(
            str(metadata["namespace"]),
            str(metadata["name"]),
            port,
            path,
            body=body,
            timeout=_ASK_TIMEOUT,
            tls=tls,
        )
    else:
        code, data = forward.ask(cluster, pod, port, path, key=key, body=body, timeout=_ASK_TIMEOUT, tls=tls)
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    if code != 200 or not isinstance(found, dict):
        said = " ".join(data.decode(errors="replace").split())[:200]
        raise MultinodeError(
            ExitCode.NOT_SERVING,
            f"the engine returned {code} for /{path}: {said or 'nothing'}",
            where=f"pod {metadata['name']}, port {port}",
            hint="See the pod's log.",
        )
    return found


def _tls(pod: Object) -> ApiTls | None:
    """How a head's API speaks TLS, by its arguments; None where it does not, or would not start by them."""
    containers = pod["spec"].get("containers") or []
    arguments = [str(one) for container in containers for one in container.get("args") or []]
    try:
        return api_tls(arguments, None)
    except MultinodeError:
        return None


def _port(pod: Object, variable: str, default: int) -> int:
    """The port that a pod's own environment sets."""
    for container in pod["spec"].get("containers") or []:
        for entry in container.get("env") or []:
            if entry.get("name") == variable and is_count(str(entry.get("value") or "")):
                return int(entry["value"])
    return default
