"""Renders what was converted for a platform, and holds it against the platform's rules."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from vllm_multinode.authoring.kept import with_spec
from vllm_multinode.authoring.render import Rendered, Target, render
from vllm_multinode.authoring.rules import validate
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.convert.conversion import Conversion, Service
from vllm_multinode.k8s.documents import from_text
from vllm_multinode.platforms.releases import DEFAULT, Release, find

BLOCKING = ("refused", "stalls")


@dataclass(frozen=True)
class Manifests:
    """What one service was rendered to.

    Attributes:
        made: the objects by file.
        texts: the text of each file by its name, and the spec beside them.
    """

    made: Rendered
    texts: Mapping[str, str]


def rendered(
    conversion: Conversion, named: Release | None = None, wanted: Target | None = None
) -> tuple[Conversion, Mapping[str, Manifests]]:
    """Render each service whose spec is complete.

    Args:
        conversion: what was converted.
        named: the release to render for; if absent, the one that the source was rendered for, or the default.
        wanted: the target, likewise; kserve by default.

    Returns:
        The conversion, with what the platform would reject among what is left to do; and what was rendered,
        by the service's name.
    """
    manifests: dict[str, Manifests] = {}
    services = []
    for service in conversion.services:
        more: tuple[str, ...] = ()
        if service.spec is not None:
            release = named or (find(service.platform) if service.platform else DEFAULT)
            target = wanted or service.target or "kserve"
            try:
                made = render(service.spec, release, target)
            except MultinodeError as error:
                more = (f"{release.name} cannot serve it: {error.what} {error.hint}".strip(),)
            else:
                texts = with_spec(made, service.spec, release, target)
                manifests[service.name] = Manifests(made, texts)
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
