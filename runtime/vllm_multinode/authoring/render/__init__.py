"""From a deployment spec to the files that Kubernetes takes. Pure; writing them is `authoring.folder`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from vllm_multinode.authoring.render import companions, monitoring, publish, releases, replicas, secrets
from vllm_multinode.authoring.render.inference_service import inference_service, runtime_name
from vllm_multinode.authoring.render.lws import leader_worker_set
from vllm_multinode.authoring.render.names import USER
from vllm_multinode.authoring.render.replicas import Target
from vllm_multinode.authoring.render.runtime import serving_runtime
from vllm_multinode.authoring.spec import DeploymentSpec
from vllm_multinode.k8s.emit import to_yaml
from vllm_multinode.platforms.kserve import auth_proxy
from vllm_multinode.platforms.releases import DEFAULT, Release, find, require_multi_node

__all__ = ["KUSTOMIZATION", "Rendered", "Target", "render", "serving_runtime"]

KUSTOMIZATION: Final = "kustomization.yaml"


@dataclass(frozen=True)
class Rendered:
    """What was rendered.

    Attributes:
        files: the documents of each file, by name; the kustomization is the last.
        notes: what a user should know of this release, a sentence each.
    """

    files: Mapping[str, list[dict[str, Any]]]
    notes: tuple[str, ...] = field(default=())

    @property
    def documents(self) -> list[dict[str, Any]]:
        """Every object in the order of the files, without the kustomization."""
        return [one for name, found in self.files.items() if name != KUSTOMIZATION for one in found]

    def text(self, name: str) -> str:
        """One file as YAML."""
        return to_yaml(self.files[name])

    def stream(self) -> str:
        """Every object as one YAML stream, as `kubectl apply -f -` takes it."""
        return to_yaml(self.documents)


def render(spec: DeploymentSpec, platform: str | Release = DEFAULT, target: Target = "kserve") -> Rendered:
    """The files of a deployment spec, always the same for the same spec.

    Args:
        spec: what is meant.
        platform: a release, or its name: kserve-0.19.0, openshift-ai-2.25. For the target lws it says no more
            than whether the cluster is OpenShift.
        target: kserve for an InferenceService, lws for a LeaderWorkerSet.

    Raises:
        MultinodeError: USAGE for an unknown release; SPEC for what this release or target cannot do.
    """
    release = find(platform) if isinstance(platform, str) else platform
    files: dict[str, list[dict[str, Any]]] = {}
    notes: tuple[str, ...] = ()
    release = find(platform) if isinstance(platform, str) else platform
    if target == "lws":
        files["leader-worker-set.yaml"] = [leader_worker_set(spec, user_of(release))]
        files["service.yaml"] = [companions.service(spec)]
        notes = (*releases.image_notes(spec), *releases.egress_notes(spec))
    else:
        notes = _kserve(spec, require_multi_node(release), files)
    if spec.has_router:
        files["router.yaml"] = replicas.objects(spec, target, user_of(release))
    has_proxy = target == "kserve" and bool(release.auth_proxy)
    proxy_port = auth_proxy.PORT if has_proxy else None
    further = {
        "claim.yaml": companions.claim(spec),
        "fetch.yaml": companions.fetch_job(spec, user_of(release)),
        "network-policy.yaml": companions.network_policy(spec, proxy_port) if spec.network.policy else None,
        "disruption-budget.yaml": companions.disruption_budget(spec) if spec.disruption_budget else None,
    }
    files |= {name: [found] for name, found in further.items() if found is not None}
    several = {
        "publish.yaml": publish.objects(spec),
        "secrets.yaml": secrets.objects(spec, user_of(release)),
        "monitoring.yaml": monitoring.objects(spec, target) if spec.monitoring else [],
    }
    files |= {name: found for name, found in several.items() if found}
    if (launcher := companions.launcher(spec)) is not None:
        # Last: nobody reads it.
        files["launcher.yaml"] = [launcher]
    return Rendered(files | {KUSTOMIZATION: [companions.kustomization(files)]}, notes)


def user_of(release: Release) -> int | None:
    """The user that containers run as; None where the platform gives each namespace its own."""
    return None if release.assigns_users else USER


def _kserve(
    spec: DeploymentSpec, release: Release, files: dict[str, list[dict[str, Any]]]
) -> tuple[str, ...]:
    releases.check(spec, release)
    if spec.writes_runtime:
        files["serving-runtime.yaml"] = [
            serving_runtime(
                spec.executor,
                name=runtime_name(spec),
                namespace=spec.namespace,
                install=spec.install,
                user=user_of(release),
            )
        ]
    files["inference-service.yaml"] = [inference_service(spec, name, release) for name in spec.service_names]
    if spec.replicas > 1 or spec.publish is not None:
        files["service.yaml"] = [companions.service(spec)]
    return tuple(releases.notes(spec, release))
