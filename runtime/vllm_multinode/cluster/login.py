"""Who talks to which cluster: a kubeconfig, as kubectl and oc keep it, or a pod's own service account."""

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode

if TYPE_CHECKING:
    from kubernetes.client import Configuration

Way = Literal["token", "command", "certificate", "provider", "password", "service account", "nothing"]
Source = Literal["kubeconfig", "oc"]

_DEFAULT: Final = "~/.kube/config"
_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_OPENSHIFT_TOKEN: Final = "sha256~"  # noqa: S105 - how OpenShift's OAuth tokens begin
_OPENSHIFT_CONTEXT: Final = re.compile(r"[^/]+/[^/]+:\d+/.+")
"""`oc login` names its contexts namespace/host:port/user."""


@dataclass(frozen=True)
class Login:
    """What a kubeconfig says, without its secrets.

    Attributes:
        server: URL of the Kubernetes API.
        context: of the kubeconfig; empty in a pod.
        user: as the kubeconfig names it.
        namespace: of the context.
        way: how the user proves who they are.
        command: the plugin that fetches credentials, where `way` is "command".
        openshift: made by `oc login`.
        secrets: what must not appear in any output.
    """

    server: str
    context: str = ""
    user: str = ""
    namespace: str = "default"
    way: Way = "nothing"
    command: str = ""
    openshift: bool = False
    secrets: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """Where an error was found, in few words."""
        return f"context {self.context}" if self.context else "this pod's service account"

    @property
    def renewal(self) -> str:
        """How to log in again."""
        if self.openshift:
            return f"Log in again: oc login {self.server}"
        return {
            "token": f"Put a new token for user '{self.user}' into the kubeconfig.",
            "command": f"Log in again with '{self.command}', which the kubeconfig asks for credentials.",
            "certificate": f"The certificate of user '{self.user}' has expired or is of another cluster.",
            "provider": f"Log in again with the identity provider of user '{self.user}'.",
            "password": f"User name or password of '{self.user}' are wrong.",
            "service account": "Mount a token of a service account that exists.",
            "nothing": f"The kubeconfig has no credentials for user '{self.user}'; log in first.",
        }[self.way]

    def redact(self, text: str) -> str:
        """The text without any secret of this login."""
        for secret in self.secrets:
            text = text.replace(secret, "***")
        return re.sub(r"(?i)\b(bearer\s+|sha256~)[\w.~+/=-]{8,}", r"\1***", text)


def require_client() -> None:
    """Refuse to go on without the Kubernetes client.

    Raises:
        MultinodeError: CLUSTER_EXTRA.
    """
    try:
        import kubernetes  # noqa: F401 - whether it is there
    except ModuleNotFoundError as error:
        raise MultinodeError(
            ExitCode.CLUSTER_EXTRA,
            f"the Kubernetes client is not installed ({error.name} is missing).",
            hint="Run: pip install 'vllm-multinode[cluster]'",
        ) from error


def log_in(
    kubeconfig: str = "", context: str = "", source: Source = "kubeconfig"
) -> "tuple[Configuration, Login]":
    """The client's configuration and what may be said about it.

    Args:
        kubeconfig: a file, or several joined as in KUBECONFIG; where empty, KUBECONFIG, then ~/.kube/config,
            then the service account of the pod that this runs in.
        context: of the kubeconfig; where empty, its current one.
        source: "oc" asks `oc` for its kubeconfig, through openshift-client.

    Raises:
        MultinodeError: CLUSTER_EXTRA, CLUSTER_UNREACHABLE or UNAUTHORIZED.
    """
    require_client()
    if source == "oc":
        from vllm_multinode.cluster.oc import kubeconfig_of_oc

        return _from_kubeconfig(kubeconfig_of_oc(context), "oc", context)
    files = kubeconfig or os.environ.get("KUBECONFIG", "") or _DEFAULT
    named = [Path(part).expanduser() for part in files.split(os.pathsep) if part]
    if any(path.exists() for path in named):
        return _from_kubeconfig(_merged(files), files, context)
    if not kubeconfig and not context and os.environ.get("KUBERNETES_SERVICE_HOST"):
        return _from_pod()
    raise MultinodeError(
        ExitCode.CLUSTER_UNREACHABLE,
        "no kubeconfig.",
        where=files,
        hint="Log in with `oc login` or your cloud's tool, or set KUBECONFIG.",
    )


def _merged(files: str) -> Any:
    from kubernetes.config.config_exception import ConfigException
    from kubernetes.config.kube_config import KubeConfigMerger
    from yaml import YAMLError

    try:
        return KubeConfigMerger(files).config
    except YAMLError as error:
        what = " ".join(str(getattr(error, "problem", None) or "").split())
        raise _unreadable(files, f"is not YAML: {what}.") from error
    except OSError as error:
        raise _unreadable(files, f"cannot be read: {error.strerror}.") from error
    except (AttributeError, TypeError, KeyError) as error:
        raise _unreadable(files, "is not a kubeconfig.") from error
    except ConfigException as error:
        raise _incomplete(files, error) from error


def _from_kubeconfig(content: Any, where: str, context: str) -> "tuple[Configuration, Login]":
    from kubernetes.client import Configuration
    from kubernetes.config.config_exception import ConfigException
    from kubernetes.config.kube_config import KubeConfigLoader

    configuration = Configuration()
    try:
        loader = KubeConfigLoader(config_dict=content, active_context=context or None, config_base_path=None)
        with _said() as words:
            loader.load_and_set(configuration)
        entry = _plain(loader.current_context)
        cluster, user = _plain(content["clusters"]), _plain(content["users"]) or []
    except OSError as error:
        raise _unreadable(where, f"refers to a file that cannot be read: {error.filename}.") from error
    except (AttributeError, TypeError, KeyError, ValueError) as error:
        raise _unreadable(where, "is not a kubeconfig.") from error
    except ConfigException as error:
        raise _incomplete(where, error) from error
    _set_proxy(configuration, _named(cluster, str(entry["context"]["cluster"])).get("cluster") or {})
    login = _described(entry, _named(user, str(entry["context"].get("user"))), configuration)
    if login.way == "command" and not (configuration.api_key or configuration.cert_file):
        why = login.redact(" ".join(words).removeprefix("exec: "))[:300]
        raise MultinodeError(
            ExitCode.UNAUTHORIZED,
            f"'{login.command}' returned no credentials: {why}.",
            where=login.place,
            hint=login.renewal,
        )
    return configuration, login


def _described(entry: dict[str, Any], named: dict[str, Any], configuration: "Configuration") -> Login:
    context, name = entry["context"], str(entry["name"])
    user = named.get("user") or {}
    token = str(configuration.api_key.get("BearerToken") or configuration.api_key.get("authorization") or "")
    secret = token.split(" ", 1)[-1]
    return Login(
        server=str(configuration.host),
        context=name,
        user=str(context.get("user") or ""),
        namespace=str(context.get("namespace") or "default"),
        way=_way(user),
        command=str((user.get("exec") or {}).get("command") or ""),
        openshift=secret.startswith(_OPENSHIFT_TOKEN) or bool(_OPENSHIFT_CONTEXT.fullmatch(name)),
        secrets=tuple(part for part in (secret, str(user.get("password") or "")) if len(part) > 3),
    )


def _way(user: dict[str, Any]) -> Way:
    """In the client's own order."""
    ways: tuple[tuple[Way, tuple[str, ...]], ...] = (
        ("provider", ("auth-provider",)),
        ("token", ("token", "tokenFile")),
        ("command", ("exec",)),
        ("password", ("username",)),
        ("certificate", ("client-certificate", "client-certificate-data")),
    )
    return next((way for way, keys in ways if any(user.get(key) for key in keys)), "nothing")


def _from_pod() -> "tuple[Configuration, Login]":
    from kubernetes.client import Configuration
    from kubernetes.config import load_incluster_config
    from kubernetes.config.config_exception import ConfigException

    configuration = Configuration()
    try:
        load_incluster_config(client_configuration=configuration)
    except (ConfigException, OSError) as error:
        raise MultinodeError(
            ExitCode.CLUSTER_UNREACHABLE,
            f"this pod's service account cannot be used: {error}.",
            where=str(_ACCOUNT),
            hint="Set automountServiceAccountToken to true, or set KUBECONFIG.",
        ) from error
    file = _ACCOUNT / "namespace"
    token = (_ACCOUNT / "token").read_text().strip()
    return configuration, Login(
        server=str(configuration.host),
        namespace=file.read_text().strip() if file.exists() else "default",
        way="service account",
        secrets=(token,),
    )


def _set_proxy(configuration: "Configuration", cluster: dict[str, Any]) -> None:
    """As kubectl does: the cluster's own proxy, else the environment's, and none on the loopback."""
    url = urlsplit(str(configuration.host))
    host = url.hostname or ""
    configuration.no_proxy = None
    if cluster.get("proxy-url"):
        configuration.proxy = str(cluster["proxy-url"])
    elif host in ("127.0.0.1", "localhost", "::1") or proxy_bypass(host):
        configuration.proxy = None
    else:
        configuration.proxy = getproxies().get(url.scheme)


def _plain(node: Any) -> Any:
    """Plain data from the client's wrapped nodes."""
    value = getattr(node, "value", node)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


def _named(entries: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next((entry for entry in entries if entry.get("name") == name), {})


@contextmanager
def _said() -> Iterator[list[str]]:
    """What the client logs, which it does instead of raising when a plugin for credentials fails."""
    words: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            words.append(" ".join(record.getMessage().split()).rstrip("."))

    collector = Collector()
    logging.getLogger().addHandler(collector)
    try:
        yield words
    finally:
        logging.getLogger().removeHandler(collector)


def _unreadable(where: str, what: str) -> MultinodeError:
    return MultinodeError(
        ExitCode.CLUSTER_UNREACHABLE, what, where=where, hint="See `kubectl config view` for what is in it."
    )


def _incomplete(where: str, error: Exception) -> MultinodeError:
    text = " ".join(str(error).removeprefix("Invalid kube-config file. ").split()).rstrip(".")
    if found := re.search(r"object with name (\S+) in .*contexts list", text):
        return _unreadable(where, f"has no context '{found[1]}'.")
    if "Expected key current-context" in text:
        return _unreadable(where, "names no current context; give --context.")
    return _unreadable(where, f"is not a complete kubeconfig: {text}.")
