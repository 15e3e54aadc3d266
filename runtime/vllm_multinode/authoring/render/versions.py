"""What a version of KServe asks for, cannot do, or does differently from what was meant."""

from collections.abc import Iterator

from vllm_multinode.authoring.render.pod import accelerators
from vllm_multinode.authoring.spec import DeploymentSpec
from vllm_multinode.authoring.spec.accelerators import COUNTED
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.platforms.kserve.nodes import layout
from vllm_multinode.platforms.versions import Version

_HEAD_SERVICES_KEPT = 3
_LWS = "Or render with --target lws."


def deployment_mode(version: Version) -> str:
    """Value of the annotation; v0.16 gave the mode its new name, and v0.16.0 takes deploymentStrategy under
    that name alone.
    """
    return "RawDeployment" if version < (0, 16, 0) else "Standard"


def autoscaler_class(version: Version) -> str:
    """Value of the annotation, which the webhook insists on."""
    return "external" if version < (0, 15, 1) else "none"


def check(spec: DeploymentSpec, version: Version) -> None:
    """Refuse what this version would not make as it is meant.

    Raises:
        MultinodeError: SPEC, with the field.
    """
    text = "KServe " + ".".join(map(str, version))
    if spec.model.oci is not None and version < (0, 17, 0):
        # v0.16 admits the service, and its pod webhook refuses every worker.
        raise _refusal(
            "model.oci", f"{text} takes models of several nodes from a claim only.", "Name model.claim."
        )
    if "PYTHONPATH" in spec.env and version >= (0, 18, 0):
        raise _refusal("env.PYTHONPATH", f"{text} refuses this variable.", "Leave it out.")
    if version < (0, 15, 1) and spec.parallelism.pipeline < 2:
        raise _refusal("parallelism.pipeline", f"{text} wants at least 2.", _LWS)
    if spec.accelerator_resource not in COUNTED and version < (0, 15, 1):
        what = f"{text} adds nvidia.com/gpu to every pod that names none of {', '.join(sorted(COUNTED))}."
        raise _refusal("accelerator", what, _LWS)
    _check_nodes(spec, version, text)


def _check_nodes(spec: DeploymentSpec, version: Version, text: str) -> None:
    if spec.executor == "mp" and spec.per_node != spec.parallelism.tensor:
        # From v0.18 on KServe does so; an older one counts as for Ray until it is upgraded.
        what = (
            f"{spec.nodes} nodes of {spec.per_node} are meant, and KServe's mp is PP nodes of TP "
            f"accelerators: {spec.parallelism.pipeline} of {spec.parallelism.tensor}."
        )
        raise _refusal("accelerator.perNode", what, f"Set it to TP. {_LWS}")
    counted = spec.per_node if spec.accelerator_resource in COUNTED else 0
    made = layout(
        ".".join(map(str, version)),
        spec.executor,
        tensor_parallel=spec.parallelism.tensor,
        pipeline_parallel=spec.parallelism.pipeline,
        head_gpus=counted,
        worker_gpus=counted,
    )
    is_as_meant = (made.nodes, made.head_gpus) == (spec.nodes, spec.per_node)
    # The cluster's own configuration may name another resource: see `notes`.
    if is_as_meant or (accelerators(spec) and not counted):
        return
    what = (
        f"{spec.nodes} nodes of {spec.per_node} are meant, and {text} makes {made.nodes} of "
        f"{made.head_gpus}: it counts {_rule(version)}."
    )
    if spec.accelerator_resource in COUNTED:
        hint = "Set accelerator.perNode to TP, so that PP is the number of nodes."
    else:
        hint = "Set accelerator.perNode to 1, or take the executor mp with KServe 0.18 or newer."
    raise _refusal("accelerator.perNode", what, f"{hint} {_LWS}")


def _rule(version: Version) -> str:
    if version < (0, 15, 1):
        return "PP nodes of TP accelerators each"
    return f"{', '.join(sorted(COUNTED))}, and nothing else"


def _refusal(field: str, what: str, hint: str) -> MultinodeError:
    return MultinodeError(ExitCode.SPEC, what, where=field, hint=hint)


def notes(spec: DeploymentSpec, version: Version) -> Iterator[str]:
    """What a user should know of this version, a sentence each."""
    text = "KServe " + ".".join(map(str, version))
    if version == (0, 20, 0):
        yield (
            f"{text} removes the workers on every reconcile (kserve#6113), so nothing will serve; "
            "use 0.19.0 or --target lws."
        )
    if version < (0, 17, 0) and spec.replicas > _HEAD_SERVICES_KEPT:
        yield (
            f"{text} keeps the {_HEAD_SERVICES_KEPT} newest head Services of the whole cluster and removes "
            f"the others, so {spec.replicas} replicas cannot run side by side."
        )
    resource = spec.accelerator_resource
    if not accelerators(spec):
        yield (
            f"Without accelerators {text} writes its number of ranks over the containers' cpu: "
            f"{spec.per_node} a pod, under requests and limits."
        )
    elif resource not in COUNTED and (spec.executor == "ray" or version < (0, 18, 0)) and spec.per_node > 1:
        world = spec.parallelism.tensor * spec.parallelism.pipeline
        yield (
            f"{text} counts {resource} only where its ConfigMap inferenceservice-config lists it under "
            f"multiNode.customGPUResourceTypeList; elsewhere it makes {world} nodes of one."
        )
