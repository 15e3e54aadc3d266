"""One reason why a service does not serve, or serves badly, and the commands that show more of it."""

from typing import Final, Literal, NamedTuple

Effect = Literal["stops", "harms", "tells"]
"""It does not serve; it serves, and badly; it is worth knowing, and nothing is wrong."""
Area = Literal["object", "pods", "container", "node", "group", "engine"]


class Cause(NamedTuple):
    """One reason.

    Attributes:
        id: names it for good.
        area: where it is seen.
        effect: on the service.
        meaning: what has happened, in a sentence.
        remedy: what to do, in a sentence.
        seen: where it is read.
        command: that shows more, with {namespace}, {name} and {pod} to be filled in.
    """

    id: str
    area: Area
    effect: Effect
    meaning: str
    remedy: str
    seen: str
    command: str = ""


DESCRIBE: Final = "kubectl describe pod -n {namespace} {pod}"
EVENTS: Final = "kubectl get events -n {namespace} --sort-by=.lastTimestamp"
OBJECT: Final = "kubectl describe -n {namespace} {kind} {name}"
VALIDATE: Final = "kubectl get -n {namespace} {kind} {name} -o yaml | multinode validate -f -"
LOGS: Final = "multinode logs {name} -n {namespace} --errors"
PREVIOUS: Final = "multinode logs {name} -n {namespace} --previous"
STATUS: Final = "multinode status {name} -n {namespace}"
