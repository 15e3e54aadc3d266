"""Asks a model's source from this machine, as the Job in the cluster will, before anything is written."""

import base64
import binascii
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from vllm_multinode.authoring.render.fetch import DOCKER_KEY, NAME
from vllm_multinode.cluster import ownership
from vllm_multinode.cluster.fetching import JOB, is_complete, is_fetch
from vllm_multinode.contract import env
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.k8s.access import at, listed, mapping, text

if TYPE_CHECKING:
    from vllm_multinode.cluster.client import Cluster

Body = Mapping[str, Any]
Secrets = Callable[[str], Mapping[str, str] | None]
"""The values of a Secret by key; None where they cannot be known."""

LONGEST: Final = 15.0
"""Seconds that a source may take: more often than not, one that takes longer cannot be reached from here."""
_ADDRESSES: Final = (env.HF_ENDPOINT, *env.S3_ENDPOINTS)
"""Where this machine finds a source, which may be elsewhere than where a pod finds it."""
_IN_THE_POD: Final = (env.HF_TOKEN_PATH, env.HF_HOME, env.REGISTRY_AUTH_FILE)
"""Variables that name a file of the pod."""
_HUB: Final = "hf://"
_OFFLINE: Final = "HF_HUB_OFFLINE"
"""https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables"""
_YES: Final = ("1", "on", "yes", "true")
_LEAVE_OUT: Final = "If the claim already holds the model, omit model.source."


@dataclass(frozen=True)
class Fetch:
    """How a Job asks its source.

    Attributes:
        job: its name.
        source: the address.
        variables: of its container, as far as their values are known.
        pull_secret: of a registry, as the text of a Docker configuration.
        secrets: the names of the Secrets that it asks with.
        exact: whether all that it asks with is known; an identity of the pod's own, for one, is not.
    """

    job: str
    source: str
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    pull_secret: str = field(default="", repr=False)
    secrets: tuple[str, ...] = ()
    exact: bool = True


def check(cluster: "Cluster", bodies: Sequence[Body], tell: Callable[[str], None]) -> None:
    """Refuse a deployment whose model is not at its source.

    Args:
        cluster: where the Secrets are that the Jobs ask with.
        bodies: the objects of the deployment.
        tell: told in a line where a source cannot be asked from here.

    Raises:
        MultinodeError: MODEL_MISSING, MODEL_CONFIG, SHARD_ABSENT, SOURCE_DENIED, USAGE, VARIABLE, as
            the Job would end with.
    """
    if _is_deployed(cluster, bodies):
        return
    # Each Secret is asked for once, however many of its keys a Job names.
    for fetch in fetches(bodies, cache(partial(_in_cluster, cluster))):
        if not is_complete(cluster.get(cluster.resource(*JOB), fetch.job)):
            _ask(fetch, tell)


def check_here(bodies: Sequence[Body], tell: Callable[[str], None]) -> None:
    """The same where no cluster is asked: what a Secret holds is known only where it is among the objects."""
    for fetch in fetches(bodies, lambda _: None):
        _ask(fetch, tell)


def fetches(bodies: Sequence[Body], secrets: Secrets) -> Iterator[Fetch]:
    """Every Job of a deployment that asks a source outside the cluster.

    Args:
        bodies: the objects of the deployment.
        secrets: what Secrets hold that are not among them.
    """
    brought = {text(one, "metadata", "name"): _values(one) for one in bodies if one.get("kind") == "Secret"}
    for body in bodies:
        if not is_fetch(body):
            continue
        for container in listed(body, "spec", "template", "spec", "containers"):
            sources = [one for one in listed(container, "args") if isinstance(one, str) and "://" in one]
            if at(container, "name") == NAME and sources and not sources[0].startswith("file://"):
                yield _fetch(body, container, sources[0], lambda name: brought.get(name) or secrets(name))


class _Container:
    """What a Job's container asks with."""

    def __init__(self, body: Body, container: Body, secrets: Secrets) -> None:
        self.variables: dict[str, str] = {}
        self.names: dict[str, None] = {}
        self.exact = True
        self._secrets = secrets
        for entry in listed(container, "envFrom"):
            self.variables |= self._all_of(entry)
        for entry in listed(container, "env"):
            self.variables |= self._one(entry)
        for name in _IN_THE_POD:
            self.exact = self.variables.pop(name, None) is None and self.exact
        self.pull_secret = ""
        if self.variables.pop(env.DOCKER_CONFIG, None) is not None:
            for volume in listed(body, "spec", "template", "spec", "volumes"):
                if name := text(volume, "secret", "secretName"):
                    self.pull_secret = self._secret(name).get(DOCKER_KEY, self.pull_secret)

    def _secret(self, name: str) -> Mapping[str, str]:
        self.names[name] = None
        found = self._secrets(name)
        self.exact = self.exact and found is not None
        return found or {}

    def _all_of(self, entry: Any) -> Mapping[str, str]:
        if name := text(entry, "secretRef", "name"):
            return self._secret(name)
        self.exact = False
        return {}

    def _one(self, entry: Any) -> Mapping[str, str]:
        name, reference = text(entry, "name"), mapping(entry, "valueFrom", "secretKeyRef")
        if reference:
            value = self._secret(text(reference, "name")).get(text(reference, "key"))
            return {} if value is None else {name: value}
        if at(entry, "valueFrom") is None:
            return {name: str(at(entry, "value") or "")}
        # The pod's own name asks for nothing.
        self.exact = self.exact and bool(mapping(entry, "valueFrom", "fieldRef"))
        return {}


def _fetch(body: Body, container: Body, source: str, secrets: Secrets) -> Fetch:
    found = _Container(body, container, secrets)
    identity = source.startswith("s3://") and not all(found.variables.get(name) for name in env.S3_KEYS)
    return Fetch(
        text(body, "metadata", "name"), source, found.variables, found.pull_secret, tuple(found.names),
        exact=found.exact and not identity,
    )  # fmt: skip


def _ask(fetch: Fetch, tell: Callable[[str], None]) -> None:
    # Late: what asks a network is loaded only where one is asked.
    from vllm_multinode.storage.source_model import check_model

    if fetch.source.startswith(_HUB) and os.environ.get(_OFFLINE, "").lower() in _YES:
        tell(_not_asked(fetch, f"{_OFFLINE} is set"))
        return
    try:
        with _environment(fetch) as environment:
            check_model(fetch.source, environment, LONGEST)
    except MultinodeError as error:
        if error.code in (ExitCode.SOURCE_UNREACHABLE, ExitCode.IMAGE) or (
            error.code == ExitCode.SOURCE_DENIED and not fetch.exact
        ):
            tell(_not_asked(fetch, error.what.rstrip(".")))
            return
        raise MultinodeError(
            error.code,
            f"{error.what} Nothing was written.",
            where=fetch.source if error.where in ("", "SOURCE") else error.where,
            hint=_hint(fetch, error),
        ) from error


def _not_asked(fetch: Fetch, reason: str) -> str:
    return f"note: {fetch.source} cannot be checked from this machine ({reason}); the Job will check it."


def _hint(fetch: Fetch, error: MultinodeError) -> str:
    if error.code == ExitCode.SOURCE_DENIED:
        if fetch.secrets:
            return f"Check what Secret {', '.join(fetch.secrets)} holds, and the address."
        return "Check the address, or set a Secret with access in model.sourceSecret (--source-secret)."
    return " ".join(filter(None, (error.hint, _LEAVE_OUT)))


@contextmanager
def _environment(fetch: Fetch) -> Iterator[Mapping[str, str]]:
    """What the Job's container has, with this machine's own addresses of mirrors and stores."""
    here = {name: value for name in _ADDRESSES if (value := os.environ.get(name))}
    # Without keys, whoever may read the bucket from here can at least tell whether it is there.
    own = os.environ if fetch.source.startswith("s3://") and not fetch.exact else {}
    with tempfile.TemporaryDirectory(prefix="multinode-") as folder:
        pull = {}
        if fetch.pull_secret:
            (Path(folder) / "config.json").write_text(fetch.pull_secret, encoding="utf-8")
            pull = {env.DOCKER_CONFIG: folder}
        yield {**own, **fetch.variables, **here, **pull}


def _is_deployed(cluster: "Cluster", bodies: Sequence[Body]) -> bool:
    """Whether a service of the deployment is there already, with the same model: that was fetched before."""
    for body in bodies:
        if body.get("kind") in ownership.SERVICES:
            resource = cluster.resource(str(body.get("apiVersion")), str(body["kind"]))
            found = cluster.get(resource, text(body, "metadata", "name"))
            if found is not None and _model(found) == _model(body):
                return True
    return False


def _model(body: Body) -> str:
    return text(body, "spec", "predictor", "model", "storageUri")


def _in_cluster(cluster: "Cluster", name: str) -> Mapping[str, str] | None:
    try:
        found = cluster.get(cluster.resource("v1", "Secret"), name)
    except MultinodeError as error:
        if error.code != ExitCode.FORBIDDEN:
            raise
        # Not everybody may read Secrets.
        return None
    return None if found is None else _values(found)


def _values(secret: Body) -> Mapping[str, str]:
    """What a Secret holds, as text; what is no text is left out."""
    found = {}
    for name, value in mapping(secret, "data").items():
        try:
            found[str(name)] = base64.b64decode(str(value), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            continue
    return found | {str(name): str(value) for name, value in mapping(secret, "stringData").items()}
