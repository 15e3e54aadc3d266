"""Converts sources: which kind each document is, what it becomes, and what is said of it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

from pydantic import ValidationError

from vllm_multinode.authoring.render import Target
from vllm_multinode.authoring.rules.known import known_runtimes
from vllm_multinode.authoring.spec import DeploymentSpec
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.contract.faults import first_fault
from vllm_multinode.convert import eks, kaito, kserve, llmisvc, lws, oci, own, ray_serve, sizes
from vllm_multinode.convert.draft import Draft
from vllm_multinode.convert.record import Record, Row
from vllm_multinode.convert.sources import TEMPLATE, is_template
from vllm_multinode.k8s.documents import Document
from vllm_multinode.platforms.releases import DEFAULT, Release
from vllm_multinode.platforms.simulation import Body

Kind = Literal["kaito", "oci", "eks", "kserve", "openshift-ai", "ray-serve", "lws", "llmisvc"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

_RECOGNISE: Final[Mapping[Kind, Callable[[Mapping[str, Any]], bool]]] = {
    "kaito": kaito.is_kind,
    "oci": oci.is_kind,
    "eks": eks.is_kind,
    "ray-serve": ray_serve.is_kind,
    "lws": lws.is_kind,
    "kserve": kserve.is_kind,
    "openshift-ai": kserve.is_kind,
    "llmisvc": llmisvc.is_kind,
}


_ALONE: Final[Mapping[Kind, Callable[[Record], list[Draft]]]] = {
    "oci": oci.convert,
    "eks": eks.convert,
    "ray-serve": ray_serve.convert,
    "lws": lws.convert,
    "llmisvc": llmisvc.convert,
}
"""Kinds whose documents need no other one."""


_OWN: Final = (None, "kserve", "openshift-ai", "lws")
"""Kinds that manifests of our own are of."""


@dataclass(frozen=True)
class Service:
    """One service of a source.

    Attributes:
        name: of the service; a name of Kubernetes.
        source_name: as the source has it.
        document: label of the document that it comes from.
        spec: what it becomes; None where the fields that are known make no spec.
        fields: of the spec, as far as they are known.
        by_hand: what is left to do, a sentence each.
        notes: what was decided, a sentence each.
        platform: name of the release that the source was rendered for; empty for a source of others.
        target: that it was rendered for; None for a source of others.
    """

    name: str
    source_name: str
    document: str
    spec: DeploymentSpec | None
    fields: Mapping[str, Any]
    by_hand: tuple[str, ...]
    notes: tuple[str, ...]
    platform: str = ""
    target: Target | None = None


@dataclass(frozen=True)
class Conversion:
    """What came out.

    Attributes:
        services: in the order of the sources.
        rows: one for every value of every document.
        refused: why, for each document that is rejected.
    """

    services: tuple[Service, ...]
    rows: tuple[Row, ...]
    refused: tuple[str, ...] = field(default=())

    @property
    def code(self) -> ExitCode:
        """OK where everything was carried or changed; NOT_CARRIED; NOT_CONVERTED for a refusal."""
        if self.refused or not self.services:
            return ExitCode.NOT_CONVERTED
        incomplete = any(service.spec is None for service in self.services)
        if incomplete or any(row.status == "not_carried" for row in self.rows):
            return ExitCode.NOT_CARRIED
        return ExitCode.OK


def convert(
    documents: Sequence[Document], kind: Kind | None = None, release: Release = DEFAULT
) -> Conversion:
    """Convert every service among some documents.

    Args:
        documents: as `k8s.files.read` returns them, those without apiVersion and kind included.
        kind: what they are; recognised by their shape where it is None.
        release: whose own ServingRuntimes services may name without bringing them along.

    Returns:
        The services, and a row for each value of each document.

    Raises:
        MultinodeError: MANIFEST where no document is of a known kind; SPEC for two services of one name.
    """
    records = [Record(one.body, _label(one, documents)) for one in documents]
    ours = own.take(documents, records, release) if kind in _OWN else []
    drafts: list[tuple[Draft, Record]] = []
    known = known_runtimes(documents, release)
    recognised = bool(ours)
    for record in records:
        if record.is_answered(()):
            continue
        found = kind or kind_of(record.body)
        if found is None or (kind is not None and not _RECOGNISE[kind](record.body)):
            continue
        recognised = True
        if _is_template(record):
            record.refused(("metadata", "name") if record.body.get("metadata") else (), TEMPLATE)
            continue
        made = list(_convert_one(found, record, records, known))
        drafts += [(draft, record) for draft in made if not record.is_refused]
    if not recognised:
        raise _unknown(documents, kind)
    services = (*map(_own, ours), *(_service(draft, record) for draft, record in drafts))
    for record in records:
        _companion(record)
    _check_names(services)
    rows = tuple(row for record in records for row in record.rows())
    refused = tuple(
        ": ".join(filter(None, (record.label, path, why)))
        for record in records
        for path, why in record.refusals()
    )
    return Conversion(services, rows, refused)


def kind_of(body: Mapping[str, Any]) -> Kind | None:
    """What kind of source a document is; None for what is not known."""
    return next((kind for kind, recognise in _RECOGNISE.items() if recognise(body)), None)


def _convert_one(
    kind: Kind, record: Record, records: Sequence[Record], known: Mapping[str, Body]
) -> Iterator[Draft]:
    if kind == "kaito":
        yield from kaito.convert(record, records)
    elif kind in ("kserve", "openshift-ai"):
        yield from kserve.convert(record, records, known)
    else:
        yield from _ALONE[kind](record)


def _own(ours: own.Own) -> Service:
    spec, fault = _spec(ours.fields)
    by_hand = (fault,) if fault else ()
    label = ours.record.label
    return Service(
        ours.name, ours.name, label, spec, ours.fields, by_hand, ours.notes, ours.platform, ours.target
    )


def _is_template(record: Record) -> bool:
    """Whether a chart's placeholders stand in it; KServe's own, in arguments, are none."""
    if record.body.get("kind"):
        return is_template(str(record.get("metadata", "name")))
    return is_template(str(record.body))


def _service(draft: Draft, record: Record) -> Service:
    sizes.complete(draft)
    name = draft.service
    if name != draft.name:
        draft.notes.append(f"The name {draft.name!r} becomes {name}, which Kubernetes allows.")
    draft.fields = {"name": name, **draft.fields}
    for path in (("metadata", "name"),):
        if record.get(*path) is not None and not record.is_answered(path):
            record.changed(path, "name", "") if name != draft.name else record.carried(path, "name")
    spec, fault = _spec(draft.fields)
    if fault:
        draft.todo(fault)
    return Service(
        name, draft.name, record.label, spec, draft.fields, tuple(draft.by_hand), tuple(draft.notes)
    )


def _companion(record: Record) -> None:
    """What is said of a document that no service has asked for."""
    if record.is_answered(("kind",)) or record.is_refused:
        return
    if not record.body.get("kind") and kind_of(record.body) is None:
        record.not_carried((), "This kind of source is unknown.")
    elif record.body.get("kind") == "Secret":
        record.not_carried((), "A Secret's values are never copied. Apply it yourself; the spec names it.")
    elif record.body.get("kind") and kind_of(record.body) is None:
        record.not_carried(
            (), f"There is no equivalent for a {record.body['kind']}. Apply it yourself if it is needed."
        )


def _spec(fields: Mapping[str, Any]) -> tuple[DeploymentSpec | None, str]:
    """The spec, or what is wrong with its fields."""
    try:
        return DeploymentSpec.model_validate(fields), ""
    except ValidationError as error:
        return None, f"The spec is not complete: {first_fault(error)}."


def _check_names(services: Sequence[Service]) -> None:
    seen: dict[str, Service] = {}
    for service in services:
        other = seen.setdefault(service.name, service)
        if other is not service:
            what = f"{other.source_name!r} and {service.source_name!r} would both be {service.name}."
            raise MultinodeError(
                ExitCode.SPEC, what, where=service.document, hint="Rename one in its source."
            )


def _label(document: Document, documents: Sequence[Document]) -> str:
    if document.kind and document.kind != ray_serve.PYTHON:
        return f"{document.kind} {document.name}".strip()
    alone = sum(one.file == document.file for one in documents) == 1
    return document.file if alone else f"{document.file}, document {document.index + 1}"


def _unknown(documents: Sequence[Document], kind: Kind | None) -> MultinodeError:
    where = documents[0].file if documents else ""
    what = f"holds nothing of {kind}." if kind else "contains nothing that can be converted."
    known = (
        "KAITO's Workspace and InferenceSet, OCI's blueprints, values of AI-on-EKS's inference-charts, "
        "InferenceService, LLMInferenceService, LeaderWorkerSet, RayService and Python files of Ray Serve"
    )
    return MultinodeError(ExitCode.MANIFEST, what, where=where, hint=f"Known are {known}.")
