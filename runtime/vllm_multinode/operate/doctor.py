"""Why a service does not serve, or serves badly: one sentence, the evidence, the next command. Pure."""

import math
from collections.abc import Iterator, Sequence
from typing import Final, Literal

from vllm_multinode.cluster import pod_states
from vllm_multinode.cluster.causes import CAUSES
from vllm_multinode.cluster.diagnosis import state_words
from vllm_multinode.cluster.pod_states import Trouble
from vllm_multinode.contract.frozen import Frozen
from vllm_multinode.operate.observation import Observation, pod_name
from vllm_multinode.operate.reading import RECENT, incidents
from vllm_multinode.operate.screen import WIDTH, clock, folded
from vllm_multinode.operate.status import status_of
from vllm_multinode.operate.troubles import troubles
from vllm_multinode.terminal.durations import age

Verdict = Literal["nothing wrong", "serves badly", "not yet", "does not serve"]

PAGE: Final = "docs/causes.md"
_FEW: Final = 3


class Finding(Frozen):
    """One cause that was found.

    Attributes:
        cause: its id.
        effect: stops, harms or tells.
        subject: what has it.
        what: the sentence.
        remedy: what to do.
        command: that shows more.
        page: where it is described.
    """

    cause: str
    effect: str
    subject: str
    what: str
    remedy: str = ""
    command: str = ""
    page: str = ""


class Diagnosis(Frozen):
    """What is wrong with a service.

    Attributes:
        service: such as InferenceService demo/llama.
        verdict: in a word or two.
        sentence: the whole in one.
        findings: the root first.
        evidence: what was seen, a line each.
        command: the next one.
        unseen: what could not be looked at, and why.
    """

    service: str
    verdict: Verdict
    sentence: str
    findings: tuple[Finding, ...] = ()
    evidence: tuple[str, ...] = ()
    command: str = ""
    unseen: tuple[str, ...] = ()


def diagnosis_of(seen: Observation) -> Diagnosis:
    """What is wrong with a service."""
    serves = seen.snapshot.ready
    found = tuple(_finding(seen, one) for one in troubles(seen))
    # What stops a service does not stop one that serves: it has just passed, or is about to bite.
    stops = [one for one in found if one.effect == "stops"]
    harms = [one for one in found if one.effect == "harms"]
    if not serves:
        verdict: Verdict = "does not serve" if stops else "not yet"
    else:
        verdict = "serves badly" if stops or harms else "nothing wrong"
    first = next(iter([*stops, *harms] if verdict != "not yet" else []), None)
    return Diagnosis(
        service=seen.title,
        verdict=verdict,
        sentence=_sentence(seen, verdict, first),
        findings=found,
        # What a service has recovered from within the hour is worth knowing though it serves.
        evidence=tuple(_evidence(seen) if verdict != "nothing wrong" else _incidents(seen, RECENT)),
        command=first.command if first is not None else "",
        unseen=seen.unseen,
    )


def _sentence(seen: Observation, verdict: Verdict, first: Finding | None) -> str:
    if verdict == "nothing wrong":
        known = "" if seen.snapshot.pods_seen else " that its controller reports"
        return f"{seen.title}: nothing wrong{known}."
    if first is None:
        since = status_of(seen).since
        lasting = f" for {age(seen.now - since)}" if since is not None else ""
        return f"{seen.title} does not serve yet{lasting}: {state_words(seen.snapshot)}."
    said = first.what if first.subject == seen.title else f"{first.subject} {first.what}"
    colon = f"{seen.title} {verdict}: {said}".rstrip()
    return colon if colon.endswith((".", "!", "?", ")")) else f"{colon}."


def _finding(seen: Observation, trouble: Trouble) -> Finding:
    cause = CAUSES[trouble.cause]
    return Finding(
        cause=cause.id,
        effect=cause.effect,
        subject=trouble.subject,
        what=trouble.what,
        remedy=trouble.hint,
        command=_command(seen, trouble, cause.command),
        page=f"{PAGE}#{cause.id}",
    )


def _command(seen: Observation, trouble: Trouble, command: str) -> str:
    """The cause's command, with the names of this service."""
    snapshot = seen.snapshot
    names = {pod_name(pod) for pod in snapshot.current}
    pod = next((word for word in trouble.subject.split() if word in names), next(iter(sorted(names)), ""))
    if seen.place == "local":
        if "kubectl" in command:
            command = "multinode logs {name} --errors"
        command = command.replace(" -n {namespace}", " --local")
        command = command if "--local" in command or " local " in command else f"{command} --local"
    return command.format(
        namespace=snapshot.namespace,
        name=snapshot.name,
        kind=snapshot.kind.lower(),
        pod=pod,
        node=trouble.subject.removeprefix("node "),
    )


def _evidence(seen: Observation) -> Iterator[str]:
    """What the sentence rests on."""
    for pod in seen.snapshot.current:
        node = (pod.get("spec") or {}).get("nodeName")
        on = f" on {node}" if node else ""
        said = seen.supervisors.get(pod_name(pod), {})
        supervisor = f", supervisor {said['state']}" if "state" in said else ""
        yield f"pod {pod_name(pod)}{on}: {pod_states.words(pod)}{supervisor}"
    if not seen.snapshot.current and seen.snapshot.pods_seen:
        yield "there are no pods of this generation"
    for condition in seen.snapshot.status.get("conditions") or []:
        if condition.get("status") != "True" and condition.get("type") in (
            "Ready",
            "PredictorReady",
            "IngressReady",
        ):
            text = condition.get("message") or condition.get("reason") or "without a message"
            yield f"condition {condition.get('type')}={condition.get('status')}: {text}"
    yield from _incidents(seen)


def _incidents(seen: Observation, within: float = math.inf) -> Iterator[str]:
    """The latest ones that are no older than so many seconds."""
    for one in incidents(seen.head_status)[-_FEW:]:
        if seen.now - one.at <= within:
            when = f"{clock(one.at)}: " if one.at else ""
            yield f"incident {when}{one.reason}"


def as_text(found: Sequence[Diagnosis], width: int = WIDTH) -> str:
    """For a reader: those with something wrong first, at length; a line for each of the others."""
    wrong = [one for one in found if one.verdict != "nothing wrong"]
    parts = ["\n".join(_lines(one, width)) for one in wrong]
    rest = [line for one in found if one not in wrong for line in _lines(one, width)]
    unseen = dict.fromkeys(sentence for one in found for sentence in one.unseen)
    rest += [line for sentence in unseen for line in folded(f"not seen: {sentence}", width)]
    if rest:
        parts.append("\n".join(rest))
    return "\n\n".join(parts) + "\n"


def _lines(one: Diagnosis, width: int) -> Iterator[str]:
    yield from folded(one.sentence, width)
    shown = [finding for finding in one.findings if finding.effect != "tells"]
    for finding in shown:
        yield ""
        yield f"{finding.cause}  ({finding.page})"
        yield from folded(f"  {finding.subject}: {finding.what}", width)
        if finding.remedy:
            yield from folded(f"  do: {finding.remedy}", width)
    if one.command:
        # A command is copied as it is.
        yield from ("", f"next: {one.command}")
    if one.evidence:
        yield from ("", "seen:")
        for line in one.evidence:
            yield from folded(f"  {line}", width)
    for finding in one.findings:
        if finding.effect == "tells":
            yield from folded(
                f"note: {finding.subject} {finding.what} {finding.remedy} ({finding.cause})", width
            )
