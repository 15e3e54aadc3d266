"""`multinode wait`: until a service serves, or until it is clear why it does not."""

import time
from typing import TYPE_CHECKING, Annotated, Any

from vllm_multinode.cli import completions
from vllm_multinode.cli.answer import Answer, OutputFormat, answering
from vllm_multinode.cli.aside import json_asked, progress, quiet
from vllm_multinode.cli.cluster_options import Context, Kubeconfig, Login, Namespace
from vllm_multinode.cli.declare import Argument, Option
from vllm_multinode.contract.exit_codes import ExitCode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vllm_multinode.cluster.client import Cluster
    from vllm_multinode.cluster.snapshot import Snapshot
    from vllm_multinode.cluster.wait import Target


def wait(
    name: Annotated[
        str,
        Argument(
            help="An InferenceService, a LeaderWorkerSet or a deployment.", complete=completions.services
        ),
    ],
    *,
    namespace: Namespace = "",
    timeout: Annotated[float, Option(min=1, help="Seconds to wait.")] = 3600,
    ask: Annotated[str, Option(help="Prompt to send once it serves.", show_default=False)] = "",
    output: OutputFormat = "text",
    context: Context = "",
    kubeconfig: Kubeconfig = "",
    login: Login = "kubeconfig",
) -> int:
    """Show each pod's state until the service is ready; exit code 75 if it will not serve.

    multinode wait llama -n models

    multinode wait llama --timeout 600 --ask 'Once upon a time' -o json
    """
    from vllm_multinode.cluster.client import Cluster
    from vllm_multinode.cluster.routers import routers_of
    from vllm_multinode.cluster.wait import targets

    with Cluster.connect(
        kubeconfig=kubeconfig, context=context, namespace=namespace, source=login
    ) as cluster:
        found, routers = targets(cluster, name), routers_of(cluster, name)
        with answering(output, namespace=cluster.namespace, services=[], routers=[]) as answer:
            follow(cluster, found, timeout, answer, ask=ask, routers=routers)
    return ExitCode.OK


def follow(
    cluster: "Cluster",
    found: "Sequence[Target]",
    timeout: float,
    answer: Answer,
    *,
    ask: str = "",
    routers: "Sequence[str]" = (),
) -> None:
    """Wait for each of the services and then the routers, within `timeout` seconds for all of them.

    Args:
        cluster: where they are.
        found: the services.
        timeout: seconds.
        answer: given `services` and `routers`.
        ask: what the model is to go on from, once it serves.
        routers: names of their Deployments.

    Raises:
        MultinodeError: the first that does not come to serve, with the reason.
    """
    from vllm_multinode.cluster.patience import await_object
    from vllm_multinode.cluster.routers import ready_router
    from vllm_multinode.cluster.snapshot import is_head
    from vllm_multinode.cluster.supervisor import completion

    started = time.monotonic()
    for target in found:
        served = _shown(cluster, target, max(1.0, timeout - (time.monotonic() - started)))
        seconds = time.monotonic() - started
        at = f" at {served.url}" if served.url else ""
        told: dict[str, Any] = {"object": served.shown, "url": served.url, "seconds": round(seconds, 1)}
        answer.item(f"{served.shown} serves{at}, after {seconds:.0f} s.", "services", told)
        if served.stuck:
            told["ready"] = "Unknown"
            answer.line("KServe still says Ready=Unknown; v0.16 to v0.19 do so over nodes (kserve#5703).")
        if ask:
            head = next(pod for pod in served.current if is_head(pod))
            told["completion"] = completion(cluster, head, ask)
            answer.line(f"{ask}{told['completion']}")
    for name in routers:
        left = max(1.0, timeout - (time.monotonic() - started))
        await_object(ready_router(cluster, name), timeout=left, show=progress)
        router = f"Deployment {cluster.namespace}/{name}"
        answer.item(
            f"{router} is ready: it sends each request to the least loaded head.",
            "routers",
            {"object": router},
        )


def _shown(cluster: "Cluster", target: "Target", timeout: float) -> "Snapshot":
    from vllm_multinode.cluster import display as shown
    from vllm_multinode.cluster.wait import wait as until_it_serves

    if quiet():
        return until_it_serves(cluster, target, timeout=timeout)
    title = f"{target.kind} {cluster.namespace}/{target.name}"
    with shown.Lines(progress) if json_asked() else shown.display(title) as display:
        display.say(f"Waiting for {title}")
        return until_it_serves(
            cluster,
            target,
            timeout=timeout,
            show=lambda snapshot: display.show(list(shown.rows(snapshot))),
            say=display.say,
        )
