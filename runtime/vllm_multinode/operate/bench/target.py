"""Where the load goes, and where its counters are read: a run of this machine, a service, or a URL."""

import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from vllm_multinode.cluster.pod_states import ready
from vllm_multinode.cluster.supervisor import api_port, speaks_tls
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.contract.numbers import is_count
from vllm_multinode.operate.bench.samples import COUNTERS, Sample, engine_of, sample_of
from vllm_multinode.operate.numbers import Numbers
from vllm_multinode.operate.observation import Observation
from vllm_multinode.operate.source import Source, several
from vllm_multinode.operate.status import status_of

_FORWARD: Final = 30.0
_POLL: Final = 0.1
_ANSWER: Final = 10.0
_CLUSTER_INTERVAL: Final = 2.0
_PLACES: Final = ("http", "https")


@dataclass(frozen=True)
class Target:
    """What is measured.

    Args:
        title: for people.
        url: where requests go.
        look: counts once.
        tokenizer: where prompts of a length are made; empty where nobody knows.
        key: that the API asks for.
        interval: seconds between two looks: each costs a cluster's API server up to ten requests.
        service: that is measured; None where only its address is known.
    """

    title: str
    url: str
    look: Callable[[], Sample]
    tokenizer: str = ""
    key: str = ""
    interval: float = 0.5
    service: Observation | None = None


def is_url(text: str) -> bool:
    """Whether that is an address, and not a name."""
    return "://" in text


def checked_url(text: str, where: str) -> str:
    """A base URL without its last slash, and without /v1, which is the load's own.

    Raises:
        MultinodeError: USAGE: it is none.
    """
    try:
        parts = urlsplit(text)
        valid = parts.scheme in _PLACES and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        valid = False
    if not valid:
        raise MultinodeError(ExitCode.USAGE, f"'{text}' is no http:// or https:// address.", where=where)
    if parts.username or parts.password or parts.query:
        raise MultinodeError(
            ExitCode.USAGE,
            "a URL with a user, a password or a query is not accepted, because it would be written to files.",
            where=where,
            hint="Put the API key into VLLM_API_KEY.",
        )
    return text.rstrip("/").removesuffix("/v1")


def models_of(url: str, key: str) -> list[str]:
    """What is served there.

    Raises:
        MultinodeError: NOT_SERVING: nobody answers, or not as vLLM does.
    """
    try:
        found = json.loads(_get(f"{url}/v1/models", key))
        names = [str(one["id"]) for one in found["data"]]
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        said = getattr(error, "reason", None) or error
        raise MultinodeError(
            ExitCode.NOT_SERVING,
            f"does not return a list of models: {said}.",
            where=f"{url}/v1/models",
            hint="Set VLLM_API_KEY to the key." if "401" in str(error) else "`multinode doctor` says why.",
        ) from error
    if not names:
        raise MultinodeError(ExitCode.NOT_SERVING, "serves no model.", where=f"{url}/v1/models")
    return names


def _get(url: str, key: str = "") -> str:
    import urllib.request

    headers = {"Authorization": f"Bearer {key}"} if key else {}
    local = urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")
    opener = urllib.request.build_opener(*((urllib.request.ProxyHandler({}),) if local else ()))
    with opener.open(urllib.request.Request(url, headers=headers), timeout=_ANSWER) as answer:  # noqa: S310
        return str(answer.read(16 << 20).decode(errors="replace"))


def at_url(url: str, metrics: Sequence[str], key: str) -> Target:
    """Engines that are known by their addresses alone.

    Args:
        url: where requests go.
        metrics: addresses of the engines behind it; itself where there are none.
        key: of the API.
    """
    places = list(metrics) or [url]

    def look() -> Sample:
        return Sample(at=time.time(), engines=tuple(_engines(places, key)))

    return Target(title=url, url=url, look=look, key=key)


def _engines(places: Sequence[str], key: str) -> Iterator[Any]:
    for place in places:
        try:
            found = Numbers.read(_get(f"{place}/metrics", key))
        except OSError:
            continue
        # A router counts too, but nothing of vLLM's.
        if found.total("vllm:num_requests_running") is not None:
            yield engine_of(place, found)


def service_of(place: Source, name: str) -> Observation:
    """The one service that serves.

    Raises:
        MultinodeError: USAGE: there are several; NOT_SERVING: it does not serve.
    """
    found = place.observe(name)
    if len(found) > 1:
        raise several([one.snapshot.name for one in found])
    status = status_of(found[0])
    if not status.serving:
        raise MultinodeError(
            ExitCode.NOT_SERVING,
            f"does not serve, so there is nothing to measure: {status.state}.",
            where=found[0].title,
            hint="`multinode doctor` says why.",
        )
    return found[0]


def at_service(place: Source, seen: Observation, url: str, key: str, tokenizer: str) -> Target:
    """A service whose nodes and engines are looked at while the load goes to a URL."""
    name = seen.snapshot.name

    def look() -> Sample:
        found = place.observe(name, counters=COUNTERS)
        return sample_of(found[0])

    interval = _CLUSTER_INTERVAL if seen.place == "cluster" else Target.interval
    return Target(
        title=seen.title, url=url, look=look, key=key, tokenizer=tokenizer, interval=interval, service=seen
    )


def hub_name(seen: Observation) -> str:
    """The model's name on the hub, where the service has it from there: its tokenizer can be had by it."""
    spec = (seen.snapshot.service or {}).get("spec") or {}
    uri = str((((spec.get("predictor") or {}).get("model") or {}).get("storageUri")) or "")
    scheme, _, rest = uri.partition("://")
    return rest.partition(":")[0].partition("@")[0] if scheme == "hf" else ""


def own_address_over_tls(seen: Observation) -> MultinodeError:
    """The load's program checks whom a certificate is for, and it is not for the loopback."""
    return MultinodeError(
        ExitCode.USAGE,
        "the API speaks TLS, and its certificate is not for this machine's own address.",
        where=seen.title,
        hint="Give the service's address with --url https://..., and its authority in SSL_CERT_FILE.",
    )


@contextmanager
def forwarded(seen: Observation, kubeconfig: str, context: str) -> Iterator[str]:
    """A URL of this machine that leads to the service, by `kubectl port-forward`.

    Raises:
        MultinodeError: CLUSTER_EXTRA: there is no kubectl; NOT_SERVING: nothing is forwarded.
    """
    kubectl = shutil.which("kubectl") or shutil.which("oc")
    if kubectl is None:
        raise MultinodeError(
            ExitCode.CLUSTER_EXTRA,
            "neither kubectl nor oc is on PATH; one of them is needed to forward a port to the service.",
            hint="Install it, or give the service's own address with --url.",
        )
    head = next((pod for pod in seen.heads if ready(pod)), None)
    if head is None:
        raise MultinodeError(ExitCode.NOT_SERVING, "no head is ready.", where=seen.title)
    if speaks_tls(head):
        raise own_address_over_tls(seen)
    # The pod itself: kubectl takes a headless Service's port, as OpenShift AI makes them, for the pod's own.
    pod, namespace = f"pod/{head['metadata']['name']}", seen.snapshot.namespace
    argv = [kubectl, "port-forward", "-n", namespace, pod, f":{api_port(head)}", "--address", "127.0.0.1"]
    argv += ["--pod-running-timeout", f"{_FORWARD:.0f}s"]
    argv += ["--kubeconfig", kubeconfig] if kubeconfig else []
    argv += ["--context", context] if context else []
    process = subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        yield f"http://127.0.0.1:{_port_of(process, f'{namespace}, {pod}')}"
    finally:
        process.kill()
        process.wait()


def _port_of(process: "subprocess.Popen[str]", where: str) -> int:
    """What kubectl says that it listens on; it says so before anything else."""
    assert process.stdout is not None  # noqa: S101 - Popen was given a pipe
    line = process.stdout.readline().strip()
    port = line.rpartition(" -> ")[0].rpartition(":")[2]
    if not is_count(port):
        raise MultinodeError(
            ExitCode.NOT_SERVING, f"no port is forwarded: {line or 'no answer'}", where=where
        )
    # It says a line for each connection, and stands still where nobody reads them.
    threading.Thread(target=process.stdout.read, name="kubectl", daemon=True).start()
    _await(int(port))
    return int(port)


def _await(port: int) -> None:
    deadline = time.monotonic() + _FORWARD
    while time.monotonic() < deadline:
        try:
            with socket.create_connection(("127.0.0.1", port), 1):
                return
        except OSError:
            time.sleep(_POLL)


def local_model(directory: str) -> str:
    """A model directory of this machine, where it has a tokenizer."""
    return directory if directory and (Path(directory) / "tokenizer.json").is_file() else ""
