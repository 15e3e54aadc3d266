"""What a release cannot do, or does differently from what was meant."""

from collections.abc import Iterator

from vllm_multinode.authoring.render.images import default_image
from vllm_multinode.authoring.render.inference_service import resource_types
from vllm_multinode.authoring.render.pod import accelerators
from vllm_multinode.authoring.spec import DeploymentSpec
from vllm_multinode.authoring.spec.accelerators import COUNTED
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.executors import EXECUTORS
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.engines.support import can_run
from vllm_multinode.engines.versions import LAST_WITH_RAY
from vllm_multinode.platforms.kserve import auth_proxy
from vllm_multinode.platforms.kserve.nodes import layout
from vllm_multinode.platforms.releases import Release, alternative

_HEAD_SERVICES_KEPT = 3
_READ_IMAGE = (
    "oc get template vllm-multinode-runtime-template -n redhat-ods-applications "
    "-o jsonpath='{.objects[0].spec.containers[0].image}'"
)
_HARMONY = "gpt-oss"
_ENCODINGS = "TIKTOKEN_ENCODINGS_BASE"
"""Where openai_harmony looks for its vocabulary before it downloads one."""
_LWS = "Or render with --target lws."


def remarks(spec: DeploymentSpec, release: Release) -> Iterator[str]:
    """What a release would not make as it is meant, and what a user should know of it, a sentence each."""
    try:
        check(spec, release)
    except MultinodeError as error:
        yield f"{release.label} does not support it: {error}"
    yield from notes(spec, release)


def check(spec: DeploymentSpec, release: Release) -> None:
    """Refuse what this release would not make as it is meant.

    Raises:
        MultinodeError: SPEC, with the field.
    """
    if spec.model.oci is not None and ("oci" not in release.storage_schemes or release.refuses_oci_workers):
        raise _refusal(
            "model.oci",
            f"{release.label} supports only claims for models over several nodes.",
            "Name model.claim.",
        )
    if "PYTHONPATH" in spec.env and release.refuses_python_path:
        raise _refusal("env.PYTHONPATH", f"{release.label} rejects this variable.", "Leave it out.")
    least = release.least_pipeline_size
    if spec.parallelism.pipeline < least:
        raise _refusal("parallelism.pipeline", f"{release.label} requires at least {least}.", _LWS)
    if spec.accelerator_resource not in COUNTED and not release.counts_nodes_by_gpu_requests:
        counted = ", ".join(sorted(COUNTED))
        what = f"{release.label} adds nvidia.com/gpu to every pod that names none of {counted}."
        raise _refusal("accelerator", what, _LWS)
    more = resource_types(spec)
    if more and not release.knows_gpu_types_annotation:
        raise _refusal("resources", f"{release.label} rejects {', '.join(more)} as unknown GPUs.", _LWS)
    _check_nodes(spec, release)


def _check_nodes(spec: DeploymentSpec, release: Release) -> None:
    if EXECUTORS[spec.executor].node_per_stage and spec.per_node != spec.parallelism.tensor:
        # A release that does not know mp counts as for Ray until it is upgraded to one that does.
        what = (
            f"{spec.nodes} nodes of {spec.per_node} are meant, and KServe's mp is PP nodes of TP "
            f"accelerators: {spec.parallelism.pipeline} of {spec.parallelism.tensor}."
        )
        raise _refusal("accelerator.perNode", what, f"Set it to TP. {_LWS}")
    counted = spec.per_node if spec.accelerator_resource in COUNTED else 0
    made = layout(
        release,
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
        f"{spec.nodes} nodes of {spec.per_node} are meant, and {release.label} makes {made.nodes} of "
        f"{made.head_gpus}: it counts {_rule(release)}."
    )
    if spec.accelerator_resource in COUNTED:
        hint = "Set accelerator.perNode to TP, so that PP is the number of nodes."
    else:
        hint = "Set accelerator.perNode to 1, or take the executor mp with KServe 0.18 or newer."
    raise _refusal("accelerator.perNode", what, f"{hint} {_LWS}")


def _rule(release: Release) -> str:
    if not release.counts_nodes_by_gpu_requests:
        return "PP nodes of TP accelerators each"
    return f"{', '.join(sorted(COUNTED))}, and nothing else"


def _refusal(field: str, what: str, hint: str) -> MultinodeError:
    return MultinodeError(ExitCode.SPEC, what, where=field, hint=hint)


def notes(spec: DeploymentSpec, release: Release) -> Iterator[str]:
    """What a user should know of this release, a sentence each."""
    if release.remark:
        yield release.remark
    if release.recreates_workers:
        yield (
            f"{release.label} removes the workers on every reconcile (kserve#6113), so nothing will serve. "
            f"{alternative(release)}"
        )
    if release.keeps_three_head_services and spec.replicas > _HEAD_SERVICES_KEPT:
        yield (
            f"{release.label} keeps the {_HEAD_SERVICES_KEPT} newest head Services of the whole cluster and "
            f"removes the others, so {spec.replicas} replicas cannot run side by side."
        )
    if release.adds_auth_proxy == "always":
        yield (
            f"{release.label} puts a proxy ({release.auth_proxy}, port {auth_proxy.PORT}) into every new "
            "head; clients are sent to it where the annotation security.opendatahub.io/enable-auth is true."
        )
    if spec.install != "image" and release.names_engine_image and spec.image is None and spec.writes_runtime:
        yield from _engine_notes(release)
    else:
        yield from image_notes(spec)
    yield from egress_notes(spec)
    resource = spec.accelerator_resource
    if not accelerators(spec):
        yield (
            f"Without accelerators {release.label} writes its number of ranks over the containers' cpu: "
            f"{spec.per_node} a pod, under requests and limits."
        )
    elif (
        resource not in COUNTED
        and (not EXECUTORS[spec.executor].node_per_stage or not release.knows_mp_annotation)
        and spec.per_node > 1
    ):
        world = spec.parallelism.tensor * spec.parallelism.pipeline
        yield (
            f"{release.label} counts {resource} only where its ConfigMap inferenceservice-config lists it "
            f"under multiNode.customGPUResourceTypeList; elsewhere it makes {world} nodes of one."
        )


def image_notes(spec: DeploymentSpec) -> Iterator[str]:
    """What a user should know of the image, where the spec names none."""
    if spec.image is not None or not spec.writes_runtime:
        return
    if spec.install == "image":
        yield (
            f"{default_image('image', spec.accelerator.type)} is in no registry: build it "
            "(scripts/build-image), push it, and name it in image."
        )
    elif EXECUTORS[spec.executor].needs_ray:
        yield (
            f"The image is that of vLLM {LAST_WITH_RAY}, the last release that has Ray: name a newer one "
            "with Ray in image, or leave executor out for vLLM's own, which needs none."
        )


def egress_notes(spec: DeploymentSpec) -> Iterator[str]:
    """What an engine would download, and the policy of its pods does not let it."""
    closed = spec.network.policy and not spec.network.egress_to
    named = f"{spec.model.source or ''} {spec.model.folder} {spec.model.oci or ''}".lower()
    if closed and _HARMONY in named and _ENCODINGS not in spec.env:
        yield (
            "vLLM downloads the vocabulary of gpt-oss when it starts, which the NetworkPolicy stops: put it "
            f"on the claim and set {_ENCODINGS} (env) to its folder, or allow the download with "
            "network.egressTo."
        )


def _engine_notes(release: Release) -> Iterator[str]:
    """Which image the platform supports, and whether it can be had."""
    if release.engine_needs_ray and not (release.engine and can_run(release.engine, "ray")):
        older = f"vLLM {release.engine}" if release.engine else "an older vLLM"
        yield f"The image is vLLM's own: {release.label} ships {older}, which the launcher cannot run."
        return
    needs_ray = bool(release.engine) and not can_run(release.engine, "mp")
    more = " and executor to ray, the only one that it has" if needs_ray else ""
    yield (
        f"The image is vLLM's own; {release.label} supports only the image of its template. To use that, set "
        f"image to what this prints{more}: {_READ_IMAGE}"
    )
