"""Writes what was prepared: the model first, so that no accelerator waits for it."""

import threading
from collections.abc import Callable
from dataclasses import replace

from vllm_multinode.cluster import deploy as deploying
from vllm_multinode.cluster import ownership
from vllm_multinode.cluster.client import Cluster
from vllm_multinode.cluster.deploy import Deployed, Deployment, Outcome
from vllm_multinode.cluster.fetching import complete_job, is_fetch
from vllm_multinode.cluster.patience import await_object


def apply(
    cluster: Cluster,
    wanted: Deployment,
    *,
    timeout: float | None,
    say: Callable[[str], None] = lambda _: None,
    done: Callable[[Outcome], None] = lambda _: None,
    cancel: threading.Event | None = None,
) -> Deployed:
    """Apply a deployment; where a Job brings the model, the service comes after it.

    Args:
        cluster: where.
        wanted: what.
        timeout: seconds for the model; None applies all of it at once.
        say: told what happens.
        done: called after each object.
        cancel: ends the wait when it is set; what was written stays.

    Raises:
        MultinodeError: the first refusal; NOT_SERVING for a model that does not come.
    """
    told = set()
    if timeout is not None and not wanted.dry_run:
        told = _fetch(cluster, wanted, timeout, say, done, cancel)

    def tell(outcome: Outcome) -> None:
        # What the fetch came after has been told.
        if outcome.result != "unchanged" or outcome.shown not in told:
            done(outcome)

    return deploying.deploy(cluster, wanted, announce=say, done=tell)


def _fetch(
    cluster: Cluster,
    wanted: Deployment,
    timeout: float,
    say: Callable[[str], None],
    done: Callable[[Outcome], None],
    cancel: threading.Event | None,
) -> set[str]:
    """Bring the model. What was applied for it, as it is shown."""
    jobs = [str(body["metadata"]["name"]) for body in wanted.bodies if is_fetch(body)]
    if not jobs:
        return set()
    # All of it is asked for first, so that no service is rejected after hours of fetching.
    deploying.deploy(cluster, replace(wanted, dry_run=True))
    before = [body for body in wanted.bodies if body.get("kind") not in ownership.SERVICES]
    deployed = deploying.deploy(cluster, replace(wanted, bodies=before), done=done)
    for name in jobs:
        say(f"Waiting for Job {cluster.namespace}/{name}, which fetches the model")
        await_object(complete_job(cluster, name), timeout=timeout, show=say, cancel=cancel)
        say(f"Job {cluster.namespace}/{name} is complete: the model is ready")
    return {outcome.shown for outcome in deployed.outcomes}
