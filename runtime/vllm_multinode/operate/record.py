"""The smallest real exercise with a service, and all that makes it reproducible. Pure but for the asking."""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal

from pydantic import Field

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.contract.frozen import Frozen
from vllm_multinode.operate.masks import without_secrets
from vllm_multinode.operate.observation import Observation
from vllm_multinode.operate.reading import items, text, whole
from vllm_multinode.operate.status import status_of
from vllm_multinode.operate.written import read_back

PROMPT: Final = "One two three"
TOKENS: Final = 16
Ask = Callable[[Observation, str, int], tuple[str, str]]
"""Sends a greedy completion request; returns the text and the engine's own fingerprint."""


class Exercise(Frozen):
    """A greedy completion.

    Attributes:
        prompt: that was sent.
        tokens: at most that were asked for.
        output: that came.
        sha256: of the output.
        system_fingerprint: the engine's; it names the version and how the model is split.
        seconds: for the whole answer.
    """

    prompt: str
    tokens: int
    output: str
    sha256: str
    system_fingerprint: str
    seconds: float


class Record(Frozen):
    """What was run, on what, and what came of it.

    Attributes:
        format: of this file.
        made: when, in UTC.
        service: such as InferenceService demo/llama.
        versions: of vLLM, Ray, Python, PyTorch, the GPUs' driver and this package on the nodes.
        images: of the pods, with their digests where the kubelet tells them.
        model: where it lies, and the size and fingerprint of its files.
        sizes: TP, PP, nodes and executor.
        hardware: of each rank: accelerator and count.
        platform: versions of Kubernetes and KServe; of a local run the machine's kernel, CPUs and memory.
        constraints: CPU, memory and devices that the pods may use.
        exercise: what was asked, and what came.
        missing: what could not be recorded, a sentence each.
    """

    format: Literal[1] = 1
    made: str
    service: str
    versions: dict[str, str] = Field(default={})
    images: tuple[str, ...] = ()
    model: dict[str, str | int] = Field(default={})
    sizes: dict[str, int | str | None] = Field(default={})
    hardware: tuple[str, ...] = ()
    platform: dict[str, str] = Field(default={})
    constraints: tuple[str, ...] = ()
    exercise: Exercise
    missing: tuple[str, ...] = ()


def record_of(
    seen: Observation,
    ask: Ask,
    platform: Mapping[str, str],
    *,
    prompt: str = PROMPT,
    tokens: int = TOKENS,
) -> Record:
    """Run the exercise, and write down all that is known.

    Args:
        seen: the service, looked at in depth.
        ask: sends the request.
        platform: that it runs on.
        prompt: what the model goes on from.
        tokens: at most.

    Raises:
        MultinodeError: NOT_SERVING: it does not serve, or gives no completion.
    """
    status = status_of(seen)
    if not status.serving:
        raise MultinodeError(
            ExitCode.NOT_SERVING,
            f"does not serve, so there is nothing to record: {status.state}.",
            where=seen.title,
            hint="`multinode doctor` says why.",
        )
    begun = time.monotonic()
    output, fingerprint = ask(seen, prompt, tokens)
    seconds = round(time.monotonic() - begun, 3)
    members = items(seen.head_status, "members")
    told = members[0].get("versions") if members else None
    versions = dict(told) if isinstance(told, Mapping) else {}
    return Record(
        made=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        service=seen.title,
        versions={name: str(value) for name, value in sorted(versions.items()) if value},
        images=tuple(sorted(set(_images(seen)))),
        model=dict(_model(seen, members)),
        sizes={
            "tensor_parallel": status.tensor_parallel,
            "pipeline_parallel": status.pipeline_parallel,
            "nodes": status.nodes,
            "executor": status.executor,
        },
        hardware=tuple(
            f"rank {one.rank}: {one.gpus} x {one.accelerator or 'unknown'}" for one in status.ranks
        ),
        platform=dict(platform),
        constraints=tuple(sorted(set(_constraints(seen)))),
        exercise=Exercise(
            prompt=prompt,
            tokens=tokens,
            output=output,
            sha256=hashlib.sha256(output.encode()).hexdigest(),
            system_fingerprint=fingerprint,
            seconds=seconds,
        ),
        missing=tuple(_missing(seen, versions)),
    )


def differences(before: Record, now: Record) -> list[str]:
    """What differs, a line each; times and seconds always do, and are left out."""
    left, right = before.model_dump(mode="json"), now.model_dump(mode="json")
    for one in (left, right):
        for key in ("made", "missing", "service"):
            one.pop(key)
        one["exercise"].pop("seconds")
    return list(_differing("", left, right))


def read_record(data: str, where: str) -> Record:
    """A record from its file.

    Raises:
        MultinodeError: USAGE: it is none.
    """
    return read_back(Record, data, "record", where=where, hint="`multinode record -o FILE` writes one.")


def _differing(path: str, left: Any, right: Any) -> Iterator[str]:
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        for key in sorted({*left, *right}):
            yield from _differing(f"{path}.{key}" if path else key, left.get(key), right.get(key))
    elif left != right:
        yield f"{path}: {left!r} was recorded, and {right!r} is there now"


def _images(seen: Observation) -> Iterator[str]:
    for pod in seen.snapshot.current:
        for one in (pod.get("status") or {}).get("containerStatuses") or []:
            if image := one.get("imageID") or one.get("image"):
                yield f"{one.get('name')}: {image}"


def _model(seen: Observation, members: list[Mapping[str, Any]]) -> Iterator[tuple[str, str | int]]:
    model = (((seen.snapshot.service or {}).get("spec") or {}).get("predictor") or {}).get("model") or {}
    if model.get("storageUri"):
        yield "storage_uri", without_secrets(str(model["storageUri"]))
    if size := whole(seen.head_status, "model_bytes"):
        yield "bytes", size
    for key in ("fingerprint", "model_dir"):
        if members and text(members[0], key):
            yield key, text(members[0], key)


def _constraints(seen: Observation) -> Iterator[str]:
    for pod in seen.snapshot.current:
        for container in (pod.get("spec") or {}).get("containers") or []:
            limits = (container.get("resources") or {}).get("limits") or {}
            if limits:
                told = ", ".join(f"{name} {value}" for name, value in sorted(limits.items()))
                yield f"{container.get('name')}: {told}"


def _missing(seen: Observation, versions: Mapping[str, Any]) -> Iterator[str]:
    if versions and not versions.get("torch"):
        yield "torch: it is not installed, or the head's supervisor is an older version."
    if not versions:
        yield "versions: the head's supervisor could not be asked, or is of an earlier version."
    yield from seen.unseen
