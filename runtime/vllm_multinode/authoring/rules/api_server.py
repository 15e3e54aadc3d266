"""What the API server rejects of the objects that KServe makes; `platforms.api_server` finds it."""

from typing import Final

from vllm_multinode.authoring.rules.rule import Rule, always, simulated

_SOURCE: Final = "API server"


def _rule(*, name: str, message: str, hint: str) -> Rule:
    return Rule(
        id=name,
        severity="stalls",
        message=message,
        hint=hint,
        seen=_SOURCE,
        check=simulated(name),
        holds=always,
    )


RULES: Final = (
    _rule(
        name="probe-handlers",
        message=(
            "A probe of the merged container has not exactly one handler, or values that the API server "
            "rejects."
        ),
        hint=(
            "Keep the ServingRuntime's kind of handler; set the other one to null in a ServingRuntime of "
            "your own."
        ),
    ),
    _rule(
        name="variable-sources",
        message="A variable of the merged container has both value and valueFrom, or no name.",
        hint="Give the variable another name, or change it in the ServingRuntime.",
    ),
    _rule(
        name="mount-without-volume",
        message=(
            "A container mounts a volume that its pod does not have: head and workers have volumes of "
            "their own."
        ),
        hint=(
            "Define the volume next to the containers: under spec.predictor for the head, under workerSpec "
            "for workers."
        ),
    ),
    _rule(
        name="mount-twice",
        message="The merged container mounts two volumes at one path.",
        hint="Mount one of them elsewhere.",
    ),
    _rule(
        name="volume-sources",
        message="A merged volume has several sources, or one without its name.",
        hint="Give the volume a name that the ServingRuntime does not use.",
    ),
    _rule(
        name="container-names",
        message="Two containers of the pod have the same name, or a name is not valid.",
        hint="Rename one of them.",
    ),
    _rule(
        name="container-ports",
        message=("A port of the merged container has an invalid number or name, or a duplicate name."),
        hint="Name ports with up to 15 lower-case letters, digits and dashes.",
    ),
    _rule(
        name="image-missing",
        message="The merged container has no image.",
        hint="Set the image in the ServingRuntime.",
    ),
    _rule(
        name="resource-limits",
        message="A request exceeds its limit, or a device request is not a whole number or has no limit.",
        hint="Set the same number under requests and limits.",
    ),
    _rule(
        name="strategy-invalid",
        message="The API server rejects the Deployment's strategy.",
        hint="Write deploymentStrategy: {type: Recreate}.",
    ),
    _rule(
        name="service-ports",
        message=(
            "The Service cannot be built from the head's container ports: several without names, or two "
            "of the same number."
        ),
        hint="Name each port of the head's container; the first one becomes port 80.",
    ),
    _rule(
        name="pod-refused",
        message="The API server rejects the pods that KServe creates.",
        hint="Change the field in the message.",
    ),
    _rule(
        name="object-refused",
        message="The API server rejects the Deployment that KServe creates.",
        hint="Change the field in the message.",
    ),
)
