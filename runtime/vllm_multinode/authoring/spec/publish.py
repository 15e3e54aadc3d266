"""How clients outside the cluster reach a service."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from vllm_multinode.authoring.spec.base import Annotations, Name, Part

Way = Literal["route", "gateway", "ingress"]


class Publish(Part):
    """Access from outside, with TLS: an OpenShift Route, a Gateway, or an Ingress."""

    via: Way = Field(description="route (OpenShift), gateway (Gateway API) or ingress.")
    host: Name | None = Field(
        default=None,
        description="Host name; if absent, the cluster chooses a Route's, and the others accept any.",
    )
    class_name: Name | None = Field(
        default=None,
        description="Class of the Gateway or Ingress; openshift-default for a Gateway, and the cluster's "
        "default for an Ingress, if absent.",
    )
    tls_secret: Name | None = Field(
        default=None,
        description=(
            "Secret with certificate and key (tls.crt, tls.key) of a Gateway or Ingress; <name>-tls if "
            "absent. Create it, or let cert-manager do so through an annotation."
        ),
    )
    reencrypt: bool = Field(
        default=False,
        description=(
            "A Route's: TLS all the way to vLLM, with a certificate that OpenShift issues; otherwise "
            "TLS ends at the router."
        ),
    )
    annotations: Annotations = Field(
        default_factory=dict,
        description="Annotations of the Route, Gateway or Ingress, such as cert-manager's.",
    )


def _publish(value: object) -> object:
    return {"via": value} if isinstance(value, str) else value


PublishChoice = Annotated[Publish, BeforeValidator(_publish, json_schema_input_type=Way | Publish)]
"""A way in, or all of it."""
