"""What will be rejected, what will never serve, and what is made of it: without a cluster, for Python."""

from collections.abc import Iterable

from vllm_multinode.api.given import Given, inputs_of
from vllm_multinode.authoring.preview import Preview, preview_documents
from vllm_multinode.authoring.report import order
from vllm_multinode.authoring.rules import Finding, judge, merged
from vllm_multinode.platforms.releases import DEFAULT, Release, find

Platform = str | Release
"""A release, or its name: kserve-0.19.0, openshift-ai-2.25."""


def validate(given: Given, platforms: Platform | Iterable[Platform] = DEFAULT) -> list[Finding]:
    """What `multinode validate` says; empty where nothing is found. `finding.blocks`: it will not serve.

    Args:
        given: a spec, what was rendered, files, or objects.
        platforms: each of these releases is asked.

    Raises:
        MultinodeError: USAGE for an unknown release; SPEC for a spec that a release cannot serve at all;
            MANIFEST for files that cannot be read.
    """
    several = (platforms,) if isinstance(platforms, str | Release) else tuple(platforms)
    releases = [find(one) if isinstance(one, str) else one for one in several]
    read = inputs_of(given)
    return sorted(merged(judge(read.rendered(one), one)[0] for one in releases), key=order)


def preview(given: Given, platform: Platform = DEFAULT, *, generation: int = 1) -> Preview:
    """What a release makes of it: pods, Deployments, Services; and what `validate` says of it.

    Args:
        given: as `validate`'s.
        platform: a release.
        generation: metadata.generation of the InferenceServices now.

    Raises:
        MultinodeError: as `validate`.
    """
    release = find(platform) if isinstance(platform, str) else platform
    return preview_documents(inputs_of(given).rendered(release), release, generation)
