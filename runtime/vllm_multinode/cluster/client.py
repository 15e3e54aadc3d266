"""The Kubernetes API: bounded requests, plain objects in and out, every failure a MultinodeError.

The Kubernetes client brings logins, TLS and connections; objects stay plain data, as they were written.
"""

import http
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self
from urllib.parse import quote

from vllm_multinode.cluster import failures
from vllm_multinode.cluster.failures import Answer, Asked
from vllm_multinode.cluster.login import Login, Source, log_in
from vllm_multinode.cluster.shapes import fault_of
from vllm_multinode.cluster.transport import NOT_THE_API, Object, Transport, Watching
from vllm_multinode.contract import labels
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode

if TYPE_CHECKING:
    from kubernetes.client import Configuration

_PAGE: Final = 500
_MOST_PAGES: Final = 200


class Resource(NamedTuple):
    """A kind as the API serves it."""

    api_version: str
    kind: str
    plural: str
    namespaced: bool

    @property
    def full(self) -> str:
        """As RBAC and kubectl name it: inferenceservices.serving.kserve.io."""
        group = self.api_version.rpartition("/")[0]
        return f"{self.plural}.{group}" if group else self.plural

    def path(self, namespace: str, name: str = "") -> str:
        """Of the collection, or of one object."""
        parts = ["apis" if "/" in self.api_version else "api", self.api_version]
        if self.namespaced and namespace:
            parts += ["namespaces", quote(namespace, safe="")]
        parts.append(self.plural)
        if name:
            parts.append(quote(name, safe=""))
        return "/" + "/".join(parts)


@dataclass
class Cluster:
    """One cluster and one login; close it, or use it as a context manager.

    Attributes:
        login: who asks.
        namespace: for what has none of its own.
    """

    login: Login
    namespace: str
    configuration: "Configuration"

    def __post_init__(self) -> None:
        self._transport = Transport(self.login, self.configuration)
        self._resources: dict[tuple[str, str], Resource] = {}

    @classmethod
    def connect(
        cls, *, kubeconfig: str = "", context: str = "", namespace: str = "", source: Source = "kubeconfig"
    ) -> Self:
        """Log in; nothing is asked of the API yet.

        Args:
            kubeconfig: a file, or several joined as in KUBECONFIG, which is the default.
            context: of the kubeconfig, instead of its current one.
            namespace: instead of the context's.
            source: "oc" asks `oc` for the login.

        Raises:
            MultinodeError: CLUSTER_EXTRA, CLUSTER_UNREACHABLE or UNAUTHORIZED.
        """
        configuration, login = log_in(kubeconfig, context, source)
        return cls(login, namespace or login.namespace, configuration)

    def close(self) -> None:
        """Close every connection."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def resource(self, api_version: str, kind: str) -> Resource:
        """How the API serves a kind.

        Raises:
            MultinodeError: KIND_MISSING, with what would bring it.
        """
        if (api_version, kind) not in self._resources:
            prefix = "/apis/" if "/" in api_version else "/api/"
            asked = Asked("get", f"{kind.lower()}s.{api_version.rpartition('/')[0]}".rstrip("."), kind=kind)
            found = self._transport.json(asked, "GET", prefix + api_version, absent={})
            for entry in _served((found or {}).get("resources") or []):
                if "/" not in entry["name"]:
                    key = (api_version, str(entry["kind"]))
                    self._resources[key] = Resource(*key, str(entry["name"]), bool(entry["namespaced"]))
            if (api_version, kind) not in self._resources:
                raise failures.missing_kind(asked)
        return self._resources[api_version, kind]

    def version(self) -> str:
        """Of the API server, such as v1.33.1; empty where it does not say."""
        found = self._transport.json(Asked("get", "version"), "GET", "/version", absent={}) or {}
        return str(found.get("gitVersion") or "")

    def get(self, resource: Resource, name: str, namespace: str = "") -> Object | None:
        """One object; None where there is none."""
        namespace = self._place(resource, namespace)
        asked = Asked("get", resource.full, namespace, name, resource.kind)
        found = self._transport.json(asked, "GET", resource.path(namespace, name), absent=None)
        if found is not None and (fault := fault_of(found)):
            raise _no_object(resource.full, name, fault)
        return found

    def list(
        self,
        resource: Resource,
        *,
        namespace: str = "",
        everywhere: bool = False,
        labels: str = "",
        fields: str = "",
        page_size: int = _PAGE,
    ) -> tuple[list[Object], str]:
        """The objects of a kind, and the resourceVersion to watch from.

        Args:
            resource: the kind.
            namespace: instead of the cluster's own.
            everywhere: in every namespace.
            labels: selector.
            fields: selector.
            page_size: objects that one request asks for.
        """
        namespace = "" if everywhere else self._place(resource, namespace)
        asked = Asked("list", resource.full, namespace)
        query = {"limit": str(page_size), "labelSelector": labels, "fieldSelector": fields}
        items: list[Object] = []
        for _ in range(_MOST_PAGES):
            page = self._transport.json(asked, "GET", resource.path(namespace), query=query) or {}
            # Items of a list do not say what they are.
            said = {"apiVersion": resource.api_version, "kind": resource.kind}
            found, metadata = page.get("items") or [], page.get("metadata") or {}
            if not isinstance(metadata, dict) or not _is_list_of_objects(found):
                raise _no_list(resource.full)
            for item in found:
                if fault := fault_of(item):
                    raise _no_object(resource.full, str(item["metadata"]["name"]), fault)
            items += [{**said, **item} for item in found]
            if not metadata.get("continue"):
                return items, str(metadata.get("resourceVersion") or "")
            if query.get("continue") == str(metadata["continue"]):
                break
            query["continue"] = str(metadata["continue"])
        raise _no_list(resource.full)

    def watch(
        self,
        resource: Resource,
        *,
        since: str,
        namespace: str = "",
        labels: str = "",
        fields: str = "",
        seconds: float = 240,
    ) -> "Watching":
        """Changes of a kind from a resourceVersion on, for `seconds` at most.

        Raises:
            ExpiredError: `since` is too old.
        """
        namespace = self._place(resource, namespace)
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": since,
            "timeoutSeconds": str(max(1, int(seconds))),
            "labelSelector": labels,
            "fieldSelector": fields,
        }
        asked = Asked("watch", resource.full, namespace)
        return self._transport.watch(asked, resource.path(namespace), query, seconds)

    def apply(self, body: Mapping[str, Any], *, force: bool = False, dry_run: bool = False) -> Object:
        """Server-side apply with this package's field manager; the object as it is then.

        Args:
            body: an object with a name; its namespace may be absent.
            force: take fields over that belong to other managers.
            dry_run: ask every webhook, store nothing.

        Raises:
            MultinodeError: CONFLICT with who owns which field, WILL_NOT_SERVE with the webhook's words, and
                whatever else the API rejects.
        """
        resource = self.resource(str(body["apiVersion"]), str(body["kind"]))
        metadata = body["metadata"]
        name = str(metadata["name"])
        namespace = self._place(resource, str(metadata.get("namespace") or ""))
        query = {
            "fieldManager": labels.MANAGER,
            "fieldValidation": "Strict",
            "force": "true" if force else "false",
            "dryRun": "All" if dry_run else "",
        }
        asked = Asked("patch", resource.full, namespace, name, resource.kind)
        path = resource.path(namespace, name)
        applied = self._transport.json(
            asked, "PATCH", path, query=query, body=body, content_type="application/apply-patch+yaml"
        )
        return applied or {}

    def annotate(self, resource: Resource, name: str, namespace: str, annotations: Mapping[str, str]) -> None:
        """Set annotations, and nothing else."""
        namespace = self._place(resource, namespace)
        asked = Asked("patch", resource.full, namespace, name, resource.kind)
        self._transport.json(
            asked,
            "PATCH",
            resource.path(namespace, name),
            query={"fieldManager": labels.MANAGER},
            body={"metadata": {"annotations": dict(annotations)}},
            content_type="application/merge-patch+json",
        )

    def delete(self, resource: Resource, name: str, namespace: str = "", *, uid: str = "") -> bool:
        """Ask for an object's deletion; False where there is none.

        Args:
            resource: its kind.
            name: its name.
            namespace: instead of the cluster's own.
            uid: only the object that has it, not one made since under the same name.
        """
        namespace = self._place(resource, namespace)
        asked = Asked("delete", resource.full, namespace, name, resource.kind)
        options: Object = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        if uid:
            options["preconditions"] = {"uid": uid}
        answered = self._transport.json(
            asked, "DELETE", resource.path(namespace, name), body=options, absent=None
        )
        return answered is not None

    def ask_pod(
        self,
        namespace: str,
        pod: str,
        port: int,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        timeout: float = 5,
        tls: bool = False,
    ) -> tuple[int, bytes]:
        """HTTP to a pod through the API server; the pod's own status and body.

        Args:
            namespace: of the pod.
            pod: its name.
            port: that it listens on.
            path: without the first slash.
            body: to be posted; None for a GET.
            timeout: seconds.
            tls: the port speaks TLS; the API server does not ask whom its certificate is for.

        Raises:
            MultinodeError: the API server was not reached, or does not allow it (FORBIDDEN).
        """
        asked = Asked("create" if body else "get", "pods/proxy", namespace, pod, "Pod")
        target = f"{'https:' if tls else ''}{quote(pod)}:{port}"
        url = f"/api/v1/namespaces/{quote(namespace)}/pods/{target}/proxy/{path.lstrip('/')}"
        response = self._transport.send(
            asked, "POST" if body else "GET", url, body=body, timeout=timeout, retry=False, tolerate=True
        )
        data = response.data
        if response.status in (401, 403):
            answer = Answer.read(response.status, data)
            if answer.reason in ("Forbidden", "Unauthorized"):
                raise failures.refused(answer, asked, self.login)
        return response.status, data

    def log(
        self,
        pod: str,
        *,
        lines: int,
        namespace: str = "",
        container: str = "",
        since: str = "",
        previous: bool = False,
        timestamps: bool = False,
    ) -> str:
        """The last lines that a container has written; empty where there are none to be had.

        Args:
            pod: its name.
            lines: at most.
            namespace: instead of the cluster's own.
            container: needed where the pod has several.
            since: no older lines; as the API writes times.
            previous: of the container before the last restart.
            timestamps: each line begins with its time.

        Raises:
            MultinodeError: FORBIDDEN where the login may not read logs; or the API is not reached.
        """
        namespace = namespace or self.namespace
        asked = Asked("get", "pods/log", namespace, pod, "Pod")
        path = f"/api/v1/namespaces/{quote(namespace)}/pods/{quote(pod)}/log"
        query = {
            "tailLines": str(lines),
            "container": container,
            "sinceTime": since,
            "previous": "true" if previous else "",
            "timestamps": "true" if timestamps else "",
        }
        response = self._transport.send(asked, "GET", path, query=query, tolerate=True)
        data: bytes = response.data
        if response.status in (http.HTTPStatus.UNAUTHORIZED, http.HTTPStatus.FORBIDDEN):
            raise failures.refused(Answer.read(response.status, data), asked, self.login)
        return data.decode(errors="replace") if response.status == http.HTTPStatus.OK else ""

    def _place(self, resource: Resource, namespace: str) -> str:
        return (namespace or self.namespace) if resource.namespaced else ""


def _is_list_of_objects(found: object) -> bool:
    """Tell whether every item has a name, which all that is made of it relies on."""
    return isinstance(found, list) and all(
        isinstance(item, dict)
        and isinstance(item.get("metadata"), dict)
        and isinstance(item["metadata"].get("name"), str)
        for item in found
    )


def _served(found: object) -> Iterator[Object]:
    """The entries of a discovery.

    Raises:
        MultinodeError: CLUSTER_UNREACHABLE: it is none.
    """
    for entry in found if isinstance(found, list) else [found]:
        if not (isinstance(entry, dict) and all(isinstance(entry.get(key), str) for key in ("name", "kind"))):
            raise _no_list("kinds")
        yield {"namespaced": False, **entry}


def _no_object(kind: str, name: str, fault: str) -> MultinodeError:
    what = f"what answers there gives no object as Kubernetes has it: {fault}."
    return MultinodeError(ExitCode.CLUSTER_UNREACHABLE, what, where=f"{kind} {name}", hint=NOT_THE_API)


def _no_list(kind: str) -> MultinodeError:
    what = f"what answers there does not return a list of {kind}, or its list never ends."
    return MultinodeError(ExitCode.CLUSTER_UNREACHABLE, what, hint=NOT_THE_API)
