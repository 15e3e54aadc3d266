"""What may follow on a command line: names that this package, this machine or the cluster knows.

Nothing here fails or waits long: where a name cannot be had, there is nothing to complete.
"""

import contextlib
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

import click

from vllm_multinode.contract.errors import MultinodeError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from vllm_multinode.sizing.catalogue import Kind

SECONDS: Final = 2.0
"""How long a shell may stand still for an answer of a cluster or a run."""
_HUB: Final = "hf://"

Items = list["CompletionItem"]


def files(_: click.Context, __: click.Parameter, incomplete: str) -> Items:
    """Files and folders, which the shell knows itself."""
    return [_item(incomplete, "file")]


def folders(_: click.Context, __: click.Parameter, incomplete: str) -> Items:
    """Folders, which the shell knows itself."""
    return [_item(incomplete, "dir")]


def models(_: click.Context, __: click.Parameter, incomplete: str) -> Items:
    """Names of the catalogue, whole or their last part, in the case that was begun; else files."""
    found = _entries("model", incomplete)
    return found or files(_, __, incomplete)


def gpus(_: click.Context, __: click.Parameter, incomplete: str) -> Items:
    """Accelerators and node shapes of the catalogue."""
    return [*_entries("accelerator", incomplete), *_entries("shape", incomplete)]


def platforms(_: click.Context, __: click.Parameter, incomplete: str) -> Items:
    """Known releases that serve over several nodes."""
    from vllm_multinode.platforms.releases import MULTI_NODE

    return _starting((one.name for one in MULTI_NODE), incomplete)


def all_platforms(_: click.Context, __: click.Parameter, incomplete: str) -> Items:
    """The same, and "all"."""
    return [*platforms(_, __, incomplete), *_starting(("all",), incomplete)]


def kserve_versions(_: click.Context, __: click.Parameter, incomplete: str) -> Items:
    """KServe's own numbers."""
    from vllm_multinode.platforms.releases import MULTI_NODE_KSERVE

    return _starting((one.name.removeprefix("kserve-") for one in MULTI_NODE_KSERVE), incomplete)


def runs(_: click.Context, __: click.Parameter, incomplete: str) -> Items:
    """Runs of `multinode local` that live."""

    def names() -> list[str]:
        from vllm_multinode.local.rundir import Runs

        return [one.name for one in Runs.of_this_user().living()]

    return _starting(_in_time(names), incomplete)


def nodes(context: click.Context, _: click.Parameter, incomplete: str) -> Items:
    """Nodes of the run that is meant, or of every run."""

    def names() -> list[str]:
        from vllm_multinode.local.run.client import RunClient
        from vllm_multinode.local.rundir import Runs

        found = Runs.of_this_user()
        asked = context.params.get("run")
        meant = [found.find(asked)] if asked else found.living()
        return [node.node for one in meant for node in RunClient(one.control).status().nodes]

    return _starting(_in_time(names), incomplete)


def services(context: click.Context, parameter: click.Parameter, incomplete: str) -> Items:
    """InferenceServices and LeaderWorkerSets of the namespace; with --local the runs of this machine."""
    given = context.params
    if given.get("local"):
        return runs(context, parameter, incomplete)

    def names() -> list[str]:
        from vllm_multinode.cluster.client import Cluster
        from vllm_multinode.cluster.login import require_client
        from vllm_multinode.operate.cluster_source import INFERENCE_SERVICES, LEADER_WORKER_SETS

        require_client()
        found: list[str] = []
        with Cluster.connect(
            kubeconfig=given.get("kubeconfig") or "",
            context=given.get("context") or given.get("kube_context") or "",
            namespace=given.get("namespace") or "",
            source=given.get("login") or "kubeconfig",
        ) as cluster:
            for resource in (INFERENCE_SERVICES, LEADER_WORKER_SETS):
                with contextlib.suppress(MultinodeError):
                    found += [str(one["metadata"]["name"]) for one in cluster.list(resource)[0]]
        return found

    return _starting(_in_time(names), incomplete)


def _entries(kind: "Kind", incomplete: str) -> Items:
    from vllm_multinode.sizing import catalogue

    names = catalogue.names(kind)
    if incomplete.startswith(_HUB):
        return _starting((f"{_HUB}{name}" for name in names if "/" in name), incomplete)
    found = []
    for name in names:
        last = name.rpartition("/")[2]
        written = (name, last, last.lower())
        found += [next((one for one in written if one.startswith(incomplete)), "")]
    return _starting(filter(None, dict.fromkeys(found)), incomplete)


def _starting(names: Iterable[str], incomplete: str) -> Items:
    return [_item(name) for name in names if name.startswith(incomplete)]


def _item(value: str, kind: str = "plain") -> "CompletionItem":
    from click.shell_completion import CompletionItem

    return CompletionItem(value, type=kind)


def _in_time(names: Callable[[], list[str]]) -> list[str]:
    """What is known within the time that a shell waits; nothing where it cannot be asked."""
    found: list[str] = []

    def ask() -> None:
        # Whatever goes wrong is told by the command itself, not while one types.
        with contextlib.suppress(Exception):
            found.extend(names())

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(SECONDS)
    return list(found)
