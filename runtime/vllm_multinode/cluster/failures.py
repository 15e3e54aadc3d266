"""What the Kubernetes API rejects, and why it cannot be reached, each as one MultinodeError."""

import json
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from vllm_multinode.cluster.login import Login
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode

if TYPE_CHECKING:
    from urllib3.exceptions import HTTPError

_LONGEST: Final = 600
"""Characters of a message that is passed on."""
_OPERATORS: Final = {
    "serving.kserve.io": "KServe is not installed, or is older than this kind; on OpenShift the OpenShift AI "
    "operator brings it. `multinode render --target lws` needs no KServe.",
    "leaderworkerset.x-k8s.io": "LeaderWorkerSet is not installed; on OpenShift the operator of that name "
    "brings it.",
    "route.openshift.io": "Routes exist on OpenShift only; use an Ingress.",
    "monitoring.coreos.com": "The Prometheus operator is not installed.",
    "k8s.cni.cncf.io": "Multus is not installed.",
    "ray.io": "KubeRay is not installed.",
}
_WEBHOOK: Final = re.compile(r'admission webhook "([^"]+)" denied the request:?\s*(.*)', re.DOTALL)
_SILENT_WEBHOOK: Final = re.compile(r'failed calling webhook "([^"]+)":\s*(.*)', re.DOTALL)
_POLICY: Final = re.compile(r"ValidatingAdmissionPolicy '([^']+)'.* denied request:?\s*(.*)", re.DOTALL)
_UNDECLARED: Final = re.compile(
    r"failed to create typed patch object .*?: (\S+): field not declared in schema"
)
"""A server-side apply with an unknown field is answered 500, not 400."""
_BY_PLUGIN: Final = re.compile(
    r"violates PodSecurity|failed quota|is forbidden: (?:no |must |\[?m(?:ax|in)imum )"
)
"""Pod Security, a quota, a missing priority or runtime class, a LimitRange: not the login's rights."""
_MANAGER: Final = re.compile(r'conflict with "([^"]+)"')


@dataclass(frozen=True)
class Asked:
    """What was asked of the API, in a reader's words.

    Attributes:
        verb: as in RBAC: get, list, watch, patch, create, delete.
        resource: plural and group, such as inferenceservices.serving.kserve.io.
        namespace: empty for what has none.
        name: of the object.
        kind: of the object.
    """

    verb: str
    resource: str
    namespace: str = ""
    name: str = ""
    kind: str = ""

    @property
    def where(self) -> str:
        """Such as InferenceService demo/llama."""
        named = "/".join(part for part in (self.namespace, self.name) if part)
        return f"{self.kind or self.resource} {named}".strip()


@dataclass(frozen=True)
class Answer:
    """A refusal of the API: its HTTP status, and the Status object where there is one."""

    code: int
    message: str
    reason: str = ""
    details: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, code: int, body: bytes) -> "Answer":
        """From an HTTP body; what is no Status keeps its first words."""
        try:
            found = json.loads(body)
        except (ValueError, RecursionError):
            found = None
        if isinstance(found, dict) and (found.get("kind") == "Status" or "message" in found):
            details = found.get("details")
            return cls(
                code=code,
                message=" ".join(str(found.get("message") or "").split()),
                reason=str(found.get("reason") or ""),
                details=details if isinstance(details, dict) else {},
            )
        return cls(code, " ".join(body.decode(errors="replace").split())[:200], reason="NoStatus")

    @property
    def causes(self) -> list[dict[str, Any]]:
        """Of a conflict or of an invalid object, one for each field."""
        causes = self.details.get("causes")
        return [one for one in causes if isinstance(one, dict)] if isinstance(causes, list) else []


class FieldConflictError(MultinodeError):
    """Fields that are to change belong to other managers.

    Attributes:
        owners: the managers, each with its fields.
    """

    def __init__(self, owners: dict[str, list[str]], asked: Asked) -> None:
        who = "; ".join(f"{manager} owns {', '.join(fields)}" for manager, fields in sorted(owners.items()))
        super().__init__(
            ExitCode.CONFLICT,
            _short(f"fields to change are owned by others: {who}."),
            where=asked.where,
            hint="Remove these fields, or take ownership with --force-conflicts.",
        )
        self.owners = owners


def refused(answer: Answer, asked: Asked, login: Login) -> MultinodeError:
    """The error for what the API answered; no secret of `login` is in it."""
    answer = replace(answer, message=_short(login.redact(answer.message)))
    return (
        _of_admission(answer, asked)
        or _of_login(answer, asked, login)
        or _of_object(answer, asked)
        or MultinodeError(
            ExitCode.CLUSTER_UNREACHABLE,
            f"the API returned {answer.code}: {answer.message or 'nothing'}",
            where=asked.where,
            hint=_server_hint(answer, login),
        )
    )


def _of_admission(answer: Answer, asked: Asked) -> MultinodeError | None:
    """What webhooks and policies said, in their own words."""
    if found := _WEBHOOK.search(answer.message):
        who = "KServe" if "kserve" in found[1] else f"The webhook {found[1]}"
        return MultinodeError(
            ExitCode.WILL_NOT_SERVE,
            f"{who} rejects it: {found[2] or 'without a reason'}",
            where=asked.where,
            hint="`multinode validate` names the line." if who == "KServe" else "",
        )
    if found := _SILENT_WEBHOOK.search(answer.message):
        return MultinodeError(
            ExitCode.CLUSTER_UNREACHABLE,
            f"the webhook {found[1]} does not answer: {found[2]}",
            where=asked.where,
            hint="Its controller must run; `kubectl get pods -A` shows whether it does.",
        )
    if found := _POLICY.search(answer.message):
        return MultinodeError(
            ExitCode.WILL_NOT_SERVE, f"the policy {found[1]} rejects it: {found[2]}", where=asked.where
        )
    return None


def _of_login(answer: Answer, asked: Asked, login: Login) -> MultinodeError | None:
    if answer.code == 401:
        return MultinodeError(
            ExitCode.UNAUTHORIZED,
            f"{login.server} rejects the login of {login.place}: it has expired or is unknown there.",
            hint=login.renewal,
        )
    if answer.code != 403:
        return None
    if any(cause.get("reason") == "NamespaceTerminating" for cause in answer.causes):
        return MultinodeError(
            ExitCode.CONFLICT,
            f"the namespace {asked.namespace} is being deleted.",
            where=asked.where,
            hint="Wait until it is gone, or use another.",
        )
    if "exceeded quota" in answer.message:
        return MultinodeError(
            ExitCode.FORBIDDEN,
            answer.message,
            where=asked.where,
            hint="Request a larger quota, or request less.",
        )
    if _BY_PLUGIN.search(answer.message) or "security context constraint" in answer.message:
        return MultinodeError(ExitCode.WILL_NOT_SERVE, answer.message, where=asked.where)
    place = f" in namespace {asked.namespace}" if asked.namespace else ""
    question = f"{asked.verb} {asked.resource}" + (f" -n {asked.namespace}" if asked.namespace else "")
    return MultinodeError(
        ExitCode.FORBIDDEN,
        f"{login.user or 'this login'} may not {asked.verb} {asked.resource}{place}.",
        where=asked.where if asked.name else "",
        hint=f"Ask for a Role that allows it; `kubectl auth can-i {question}` tells.",
    )


def _of_object(answer: Answer, asked: Asked) -> MultinodeError | None:
    if answer.code == 404 and answer.details.get("kind") == "namespaces":
        return missing_namespace(str(answer.details.get("name") or asked.namespace))
    if answer.code == 409:
        return _conflict(answer, asked)
    if found := _UNDECLARED.search(answer.message):
        return MultinodeError(
            ExitCode.WILL_NOT_SERVE,
            f"the cluster's {asked.kind} has no field {found[1]}.",
            where=asked.where,
            hint="Correct its name, or omit it for this version.",
        )
    if answer.code in (400, 413, 422):
        # The message repeats every field of the causes.
        hint = "" if answer.code == 400 else "Correct it and try again."
        return MultinodeError(
            ExitCode.WILL_NOT_SERVE, f"the API rejects it: {answer.message}", where=asked.where, hint=hint
        )
    if answer.code == 404:
        return missing_kind(asked) if answer.reason == "NoStatus" else None
    return None


def _conflict(answer: Answer, asked: Asked) -> MultinodeError:
    owned: dict[str, list[str]] = {}
    for cause in answer.causes:
        if cause.get("reason") == "FieldManagerConflict":
            found = _MANAGER.search(str(cause.get("message")))
            owned.setdefault(found[1] if found else "somebody", []).append(str(cause.get("field")))
    if not owned:
        return MultinodeError(
            ExitCode.CONFLICT,
            f"it was changed meanwhile: {answer.message}",
            where=asked.where,
            hint="Try again.",
        )
    return FieldConflictError(owned, asked)


def missing_kind(asked: Asked) -> MultinodeError:
    """The cluster does not know the kind."""
    group = asked.resource.partition(".")[2]
    return MultinodeError(
        ExitCode.KIND_MISSING,
        f"the cluster does not know {asked.kind or asked.resource} ({group or 'v1'}).",
        where=asked.where if asked.name else "",
        hint=_OPERATORS.get(group, "Install what brings its CustomResourceDefinition."),
    )


def missing_namespace(name: str) -> MultinodeError:
    """There is no such namespace, and none is made unless asked for."""
    return MultinodeError(
        ExitCode.NAMESPACE_MISSING,
        f"there is no namespace '{name}'.",
        hint=f"Create it (kubectl create namespace {name}; oc new-project {name}), or name another with -n.",
    )


def _server_hint(answer: Answer, login: Login) -> str:
    if answer.reason == "NoStatus":
        return f"{login.server} may not be a Kubernetes API; check `server` in the kubeconfig."
    return "Try again; the API server's own log says more."


def unreachable(error: "HTTPError", login: Login) -> MultinodeError:
    """The error for an API that gave no answer."""
    reason = getattr(error, "reason", None) or error
    what, hint = _network_words(type(reason).__name__, str(reason), login)
    return MultinodeError(
        ExitCode.CLUSTER_UNREACHABLE, login.redact(f"{login.server} {what}"), where=login.place, hint=hint
    )


def _network_words(kind: str, text: str, login: Login) -> tuple[str, str]:
    host = urlsplit(login.server).hostname or login.server
    network = "Is the cluster up, and is this machine on its network or VPN?"
    if kind == "NameResolutionError":
        return f"has a host name that DNS cannot resolve: {host}.", network
    if kind == "ProxyError":
        return f"is behind a proxy that does not answer: {text}.", "Check HTTPS_PROXY and NO_PROXY."
    if kind == "SSLError":
        return _tls_words(text, host)
    if "refused" in text:
        return "refuses the connection.", network
    if "Timeout" in kind or "timed out" in text:
        return "does not answer in time.", network
    return f"cannot be reached: {_last(text)}.", network


def _tls_words(text: str, host: str) -> tuple[str, str]:
    authority = "Put the cluster's own CA into the kubeconfig (certificate-authority-data)."
    if "WRONG_VERSION_NUMBER" in text or "record layer failure" in text:
        return "does not speak TLS.", "Check `server` in the kubeconfig: it may have to begin with http."
    if "certificate has expired" in text:
        return (
            "presents an expired certificate.",
            "Renew it on the cluster, or set this machine's clock.",
        )
    if "Hostname mismatch" in text or "doesn't match" in text or "IP address mismatch" in text:
        return (
            f"presents a certificate that is not valid for {host}.",
            "Use a name that is in the certificate.",
        )
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return "presents a certificate from an authority that is not trusted here.", authority
    if "alert" in text and "certificate" in text:
        return "rejects the client certificate.", "Log in again; it may have expired."
    return f"fails in TLS: {_last(text)}.", authority


def _last(text: str) -> str:
    return text.rsplit(": ", 1)[-1].strip("() .")


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
