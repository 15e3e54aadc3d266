"""From what runs elsewhere to deployment specs, for Python."""

from os import PathLike, fspath

from vllm_multinode.api.checking import Platform
from vllm_multinode.convert import Conversion, convert
from vllm_multinode.convert.conversion import Kind
from vllm_multinode.convert.sources import read_sources
from vllm_multinode.k8s.documents import Reading
from vllm_multinode.platforms.releases import DEFAULT, find


def convert_files(
    *files: str | PathLike[str], kind: Kind | None = None, platform: Platform = DEFAULT
) -> Conversion:
    """What `multinode convert` makes of files: a spec for each service, and a row for every field.

    Args:
        files: files or folders.
        kind: what they are; recognised by their shape where it is None.
        platform: that is converted for.

    Raises:
        MultinodeError: files that cannot be read; USAGE for an unknown release.
    """
    release = find(platform) if isinstance(platform, str) else platform
    return convert(read_sources([fspath(one) for one in files], Reading()), kind, release)
