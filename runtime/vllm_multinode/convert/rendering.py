"""Renders what was converted for a platform, and holds it against the platform's rules."""

from collections.abc import Mapping
from dataclasses import replace

from vllm_multinode.authoring.render import Rendered, Target, render
from vllm_multinode.authoring.rules import validate
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.convert.conversion import Conversion, Service
from vllm_multinode.k8s.documents import from_text
from vllm_multinode.platforms.releases import Release

BLOCKING = ("refused", "stalls")


def rendered(
    conversion: Conversion, release: Release, target: Target = "kserve"
) -> tuple[Conversion, Mapping[str, Rendered]]:
    """Render each service whose spec is complete.

    Returns:
        The conversion, with what the platform would refuse among what is left to do; and what was rendered,
        by the service's name.
    """
    manifests: dict[str, Rendered] = {}
    services = []
    for service in conversion.services:
        more: tuple[str, ...] = ()
        if service.spec is not None:
            try:
                made = render(service.spec, release, target)
            except MultinodeError as error:
                more = (f"{release.name} cannot serve it: {error.what} {error.hint}".strip(),)
            else:
                manifests[service.name] = made
                more = _objections(service, made, release)
        by_hand = tuple(dict.fromkeys((*service.by_hand, *more)))
        services.append(replace(service, by_hand=by_hand))
    return replace(conversion, services=tuple(services)), manifests


def _objections(service: Service, made: Rendered, release: Release) -> tuple[str, ...]:
    documents = from_text(made.stream(), service.name)
    return tuple(
        f"{finding.rule}: {finding.message} {finding.hint}".strip()
        for finding in validate(documents, [release])
        if finding.severity in BLOCKING
    )
