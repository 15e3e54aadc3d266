"""Where `oc` is the login: its own view of the kubeconfig, through openshift-client.

openshift-client starts the `oc` binary for every call. What it adds to a kubeconfig is that `oc` answers: the
session and the project that it would use itself, checked by `oc whoami`. All requests after that are this
package's own.
"""

import json
from typing import Any, Final

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode

_TIMEOUT: Final = 30.0
"""Seconds for one call of oc."""


def kubeconfig_of_oc(context: str = "") -> dict[str, Any]:
    """The kubeconfig that `oc` uses now, with one cluster, one user and one context.

    Args:
        context: another one than oc's current.

    Raises:
        MultinodeError: CLUSTER_EXTRA without openshift-client or oc, UNAUTHORIZED where oc is not logged in.
    """
    chosen = [f"--context={context}"] if context else []
    _oc("whoami", chosen)
    shown = _oc("config", ["view", "--minify", "--flatten", "--raw", "-o", "json", *chosen])
    try:
        found = json.loads(shown)
    except ValueError as error:
        raise MultinodeError(
            ExitCode.CLUSTER_UNREACHABLE, "oc config view printed no JSON.", hint="Update oc."
        ) from error
    if not isinstance(found, dict):
        raise MultinodeError(ExitCode.CLUSTER_UNREACHABLE, "oc has no kubeconfig.", hint="Run: oc login")
    # With --minify the only context is the one asked for, whatever is the current one.
    if context:
        found["current-context"] = context
    return found


def _oc(verb: str, arguments: list[str]) -> str:
    try:
        import openshift_client
    except ModuleNotFoundError as error:
        raise MultinodeError(
            ExitCode.CLUSTER_EXTRA,
            "openshift-client is not installed.",
            hint="Run: pip install 'vllm-multinode[openshift]', or omit --login.",
        ) from error
    try:
        with openshift_client.timeout(_TIMEOUT):
            result = openshift_client.invoke(verb, arguments, no_namespace=True, auto_raise=False)
    except FileNotFoundError as error:
        raise MultinodeError(
            ExitCode.CLUSTER_EXTRA,
            "oc is not on PATH, and openshift-client needs it.",
            hint="Install oc, or omit --login: a kubeconfig of `oc login` is read without it.",
        ) from error
    if result.status() != 0:
        why = " ".join(str(result.err()).split()).removeprefix("error: ")[:300]
        raise MultinodeError(
            ExitCode.UNAUTHORIZED,
            f"oc {verb} failed: {why or f'no answer within {_TIMEOUT:g} s'}.",
            hint="Run: oc login",
        )
    return str(result.out())
