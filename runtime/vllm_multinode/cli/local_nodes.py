"""`multinode local kill` and the others that do something to a node of a run, or end it."""

from typing import Annotated

from vllm_multinode.cli import completions
from vllm_multinode.cli.answer import Output, OutputFormat
from vllm_multinode.cli.declare import Argument, Option
from vllm_multinode.cli.local_answers import RunName, say
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.local.run.client import RunClient
from vllm_multinode.local.rundir import Runs
from vllm_multinode.local.world.protocol import Action, Request

NodeName = Annotated[str, Argument(help="A node (head, worker-1) or its pod.", complete=completions.nodes)]
AnyNode = Annotated[
    str,
    Argument(
        metavar="[NODE]",
        help="A node, its rank or its pod; all by default.",
        show_default=False,
        complete=completions.nodes,
    ),
]
Grace = Annotated[float | None, Option(min=0, help="Seconds between SIGTERM and SIGKILL; 60 by default.")]


def kill(
    node: NodeName,
    *,
    stay_dead: Annotated[bool, Option("--stay-dead", help="Do not restart it.")] = False,
    run: RunName = None,
    output: OutputFormat = "text",
) -> None:
    """Kill a node's container at once; it is restarted in place, as the kubelet does.

    multinode local kill worker-1

    multinode local kill worker-1 --stay-dead
    """
    _act("kill", node, run, output, stay_dead=stay_dead)


def freeze(node: NodeName, *, run: RunName = None, output: OutputFormat = "text") -> None:
    """Stop every process of a node where it is.

    multinode local freeze worker-1

    multinode local freeze head --run llm-1
    """
    _act("freeze", node, run, output)


def thaw(node: NodeName, *, run: RunName = None, output: OutputFormat = "text") -> None:
    """Let a frozen node go on.

    multinode local thaw worker-1

    multinode local thaw head --run llm-1
    """
    _act("thaw", node, run, output)


def cut(node: NodeName, *, run: RunName = None, output: OutputFormat = "text") -> None:
    """Take a node's network link down.

    multinode local cut worker-1

    multinode local cut head --run llm-1
    """
    _act("cut", node, run, output)


def join(node: NodeName, *, run: RunName = None, output: OutputFormat = "text") -> None:
    """Take a node's network link up again.

    multinode local join worker-1

    multinode local join head --run llm-1
    """
    _act("join", node, run, output)


def replace(
    node: NodeName, *, grace: Grace = None, run: RunName = None, output: OutputFormat = "text"
) -> None:
    """Delete a node's pod and make a new one, with another name and address.

    multinode local replace worker-1

    multinode local replace worker-1 --grace 0
    """
    _act("replace", node, run, output, grace=grace)


def start(node: NodeName, *, run: RunName = None, output: OutputFormat = "text") -> None:
    """Start a node that was stopped, or killed to stay dead.

    multinode local start worker-1

    multinode local start head --run llm-1
    """
    _act("start", node, run, output)


def stop(
    node: Annotated[
        str | None, Argument(help="A node; the whole run by default.", complete=completions.nodes)
    ] = None,
    *,
    grace: Grace = None,
    run: RunName = None,
    output: OutputFormat = "text",
) -> None:
    """Stop a node, or end the run: SIGTERM, and SIGKILL after the grace period.

    multinode local stop

    multinode local stop worker-1 --grace 5
    """
    if node is not None:
        _act("stop", node, run, output, grace=grace)
        return
    runs = Runs.of_this_user()
    directory = runs.find(run)
    RunClient(directory.control).ask(Request(command="end", grace=grace))
    if not runs.wait_until_gone(directory, timeout=90 if grace is None else grace + 30):
        raise MultinodeError(ExitCode.LOCAL_RUN, "has not ended yet.", where=directory.name)
    say(output, f"run {directory.name} ended", {"run": directory.name, "action": "end"})


def _act(
    action: Action,
    node: str,
    run: str | None,
    output: Output,
    *,
    stay_dead: bool = False,
    grace: float | None = None,
) -> None:
    directory = Runs.of_this_user().find(run)
    request = Request(command=action, node=node, stay_dead=stay_dead, grace=grace)
    done = RunClient(directory.control).ask(request).done
    say(output, done, {"run": directory.name, "node": node, "action": action, "result": done})
