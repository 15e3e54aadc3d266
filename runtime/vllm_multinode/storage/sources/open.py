"""Which source an address names."""

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.storage.sources.source import Source, no_address


def open_source(address: str, environment: Mapping[str, str]) -> Source:
    """The source of an address; nothing is asked yet.

    Raises:
        MultinodeError: USAGE, where the address is invalid, or holds a secret.
    """
    scheme, separator, rest = address.partition("://")
    if _holds_more(scheme, rest):
        # The address itself is not repeated: it would stand in the log of a Job.
        what = "the source contains a user, a token or a query, which a Job's log would show."
        hint = "Remove it; give credentials by HF_TOKEN, AWS_* or a registry's auth file."
        raise MultinodeError(ExitCode.USAGE, what, where="SOURCE", hint=hint)
    if not separator or not rest:
        raise no_address(address)
    # Late: each of them brings its own libraries.
    if scheme == "hf":
        from vllm_multinode.storage.sources.hub import Hub

        return Hub.parse(rest, environment)
    if scheme == "s3":
        from vllm_multinode.storage.sources.s3 import Bucket

        return Bucket.parse(rest, environment)
    if scheme == "oci":
        from vllm_multinode.storage.sources.registry import Image

        return Image.parse(rest, environment)
    if scheme == "file" and rest.startswith("/"):
        from vllm_multinode.storage.sources.directory import Directory

        return Directory(Path(unquote(rest)))
    raise no_address(address)


def _holds_more(scheme: str, rest: str) -> bool:
    """Tell whether there is a user, or a query such as a signature, in an address.

    What stands behind the @ of name@revision and repository@digest comes after a slash; a user's before.
    """
    return scheme != "file" and ("@" in rest.partition("/")[0] or "?" in rest or "#" in rest)
