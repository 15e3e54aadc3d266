"""Deploy, wait, look and delete on a cluster, for Python: each call has a bound, and can be cancelled."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from vllm_multinode.api.applying import apply
from vllm_multinode.api.checking import Platform
from vllm_multinode.api.given import Given, inputs_of
from vllm_multinode.api.prepare import Manner, prepared, release_for, settle_namespace
from vllm_multinode.authoring.render import Target
from vllm_multinode.cluster import delete as deleting
from vllm_multinode.cluster import given as givens
from vllm_multinode.cluster.client import Cluster
from vllm_multinode.cluster.delete import Deleted
from vllm_multinode.cluster.deploy import Deployed
from vllm_multinode.cluster.images import supported_engine
from vllm_multinode.cluster.login import require_client
from vllm_multinode.cluster.patience import await_object
from vllm_multinode.cluster.routers import ready_router, routers_of
from vllm_multinode.cluster.wait import targets
from vllm_multinode.cluster.wait import wait as until_it_serves
from vllm_multinode.operate.cluster_source import ClusterSource
from vllm_multinode.operate.numbers import OF_STATUS
from vllm_multinode.operate.status import ServiceStatus, status_of
from vllm_multinode.platforms.releases import find

Progress = Callable[[str], None]
"""Told a line whenever there is something to tell."""
HOUR: Final = 3600.0


@dataclass(frozen=True)
class Login:
    """Which cluster, and where in it; the kubeconfig's current ones by default.

    Attributes:
        namespace: empty for the context's.
        context: of the kubeconfig.
        kubeconfig: a file, instead of KUBECONFIG and ~/.kube/config; in a pod, the pod's own account.
    """

    namespace: str = ""
    context: str = ""
    kubeconfig: str = ""


def deploy(
    given: Given,
    login: Login = Login(),
    *,
    platform: Platform | None = None,
    target: Target = "kserve",
    name: str = "",
    timeout: float = HOUR,
    create_namespace: bool = False,
    force: bool = False,
    force_conflicts: bool = False,
    dry_run: bool = False,
    progress: Progress = lambda _: None,
    cancel: threading.Event | None = None,
) -> Deployed:
    """Check and apply, the model first; a second time changes nothing. `wait` waits for the service.

    Args:
        given: a spec, what was rendered, files, or objects.
        login: where.
        platform: the release that the cluster runs; it is asked where this is None.
        target: what a spec is rendered for.
        name: of the deployment, instead of its service's.
        timeout: seconds for the Job that brings the model, where there is one; 0 does not wait for it.
        create_namespace: make it where it is missing.
        force: go on although it will not serve.
        force_conflicts: take over fields and objects of others.
        dry_run: ask the cluster, and write nothing.
        progress: told what happens.
        cancel: set by another thread, it ends the wait; what was written stays.

    Raises:
        MultinodeError: WILL_NOT_SERVE, with nothing written; NOT_SERVING for a model that does not come;
            INTERRUPTED where it was cancelled; what the cluster rejects.
    """
    asked = find(platform) if isinstance(platform, str) else platform
    read = inputs_of(given)
    wanted_for = givens.for_release(read, asked, target, name)
    with _connected(login) as cluster:
        settle_namespace(cluster, login.namespace, [one.namespace for one in wanted_for.documents])
        release = release_for(cluster, asked, needs_kserve=wanted_for.needs_kserve, say=progress)
        manner = Manner(
            release, target, supported_engine(cluster, release) if read.specs else None, name, force=force,
            create_namespace=create_namespace, force_conflicts=force_conflicts, dry_run=dry_run,
            say=progress, warn=progress,
        )  # fmt: skip
        _, wanted = prepared(cluster, read, manner)
        return apply(cluster, wanted, timeout=timeout or None, say=progress, cancel=cancel)


def wait(
    name: str,
    login: Login = Login(),
    *,
    timeout: float = HOUR,
    progress: Progress = lambda _: None,
    cancel: threading.Event | None = None,
) -> list[ServiceStatus]:
    """Return when every service of a name serves.

    Args:
        name: of an InferenceService, a LeaderWorkerSet, or a deployment of several.
        login: where.
        timeout: seconds for all of them.
        progress: told what happens.
        cancel: set by another thread, it ends the wait.

    Raises:
        MultinodeError: NOT_SERVING, with the reason: it is not there, will not serve, or not in time;
            INTERRUPTED where it was cancelled.
    """
    ends = time.monotonic() + timeout
    with _connected(login) as cluster:
        for found in targets(cluster, name):
            left = max(0.0, ends - time.monotonic())
            until_it_serves(cluster, found, timeout=left, say=progress, cancel=cancel)
        for router in routers_of(cluster, name):
            left = max(0.0, ends - time.monotonic())
            await_object(ready_router(cluster, router), timeout=left, show=progress, cancel=cancel)
        return [status_of(seen) for seen in ClusterSource(cluster).observe(name, counters=OF_STATUS)]


def status(name: str = "", login: Login = Login(), *, labels: str = "") -> list[ServiceStatus]:
    """How services are now; as `multinode status -o json` prints it.

    Args:
        name: of a service or deployment; empty for all of the namespace.
        login: where.
        labels: a selector, as kubectl takes it.

    Raises:
        MultinodeError: NOT_SERVING: there is none of that name; the login is of no use.
    """
    with _connected(login) as cluster:
        found = ClusterSource(cluster).observe(name, labels, counters=OF_STATUS)
        return [status_of(seen) for seen in found]


def delete(
    name: str,
    login: Login = Login(),
    *,
    claim: bool = False,
    timeout: float = 300.0,
    progress: Progress = lambda _: None,
    cancel: threading.Event | None = None,
) -> Deleted:
    """Delete what a deployment made, and nothing else; where there is nothing, nothing is done.

    Args:
        name: the deployment's.
        login: where.
        claim: its claims too, with the model in them.
        timeout: seconds to wait until its pods are gone; 0 does not wait.
        progress: told what is waited for.
        cancel: set by another thread, it ends the wait; what was deleted stays deleted.

    Raises:
        MultinodeError: NOT_SERVING: something is still there after `timeout` seconds; FORBIDDEN: the login
            may not list services; INTERRUPTED where it was cancelled.
    """
    with _connected(login) as cluster:
        marked = deleting.of_name(cluster, name)
        return deleting.delete(
            cluster, marked, name, claim=claim, timeout=timeout, say=progress, cancel=cancel
        )


@contextmanager
def _connected(login: Login) -> Iterator[Cluster]:
    require_client()
    with Cluster.connect(
        kubeconfig=login.kubeconfig, context=login.context, namespace=login.namespace
    ) as cluster:
        yield cluster
