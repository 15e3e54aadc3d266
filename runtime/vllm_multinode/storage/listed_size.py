"""How large the model in a source is, by the source's own list of its files; nothing is downloaded."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.storage.selection import select
from vllm_multinode.storage.sources.bounded import within
from vllm_multinode.storage.sources.open import open_source
from vllm_multinode.storage.sources.source import Listing, PassingError, Source

LONGEST: Final = 30.0
"""Seconds that a source may take to list its files."""


def listed_size(address: str, environment: Mapping[str, str], longest: float = LONGEST) -> int:
    """Bytes that `multinode fetch` would bring from a source; of an image, those of its layers.

    Args:
        address: hf://org/name[@revision], s3://bucket/prefix, oci://registry/repository:tag.
        environment: with what the source asks for, as HF_TOKEN.
        longest: seconds that it may take.

    Raises:
        MultinodeError: USAGE, VARIABLE, SOURCE_DENIED, SOURCE_UNREACHABLE, MODEL_MISSING.
    """
    return sum(item.size for item in listed(address, environment, longest)[1].items)


def listed(address: str, environment: Mapping[str, str], longest: float) -> tuple[Source, Listing]:
    """A source, and what of it would be fetched: the files that vLLM loads, or the layers of an image.

    Raises:
        MultinodeError: as `listed_size`.
    """
    source = open_source(address, environment)
    try:
        listing = within(longest, source.listing, "its list of files")
    except PassingError as error:
        hint = "Try again, or check the address, HF_ENDPOINT or AWS_ENDPOINT_URL, and the proxy."
        raise MultinodeError(
            ExitCode.SOURCE_UNREACHABLE, f"{error}.", where=source.name, hint=hint
        ) from error
    if listing.unpack is None:
        listing = replace(listing, items=select(listing.items, (), ()))
    if not listing.items:
        what = "it lists no file of a model."
        raise MultinodeError(ExitCode.MODEL_MISSING, what, where=source.name, hint="Check the address.")
    return source, listing
