"""Kubernetes' own kinds against Kubernetes' schemas; KServe's are what `multinode validate` checks."""

from pathlib import Path

import kubernetes_validate
import pytest

from manifests.folders import COMPONENTS, MANIFESTS, Object, bases, build, components, load, name

VERSION = "1.34"
# No objects, and a patch, which need not be whole.
PARTS = ("kustomization.yaml", "fields.yaml", "names.yaml", "service.yaml", "entrance.yaml", "hook.yaml")
OWN = ("v1", "apps/", "batch/", "networking.k8s.io/", "policy/", "rbac.", "scheduling.", "storage.k8s.io/")
# Whose schemas nobody here has: their fields were taken from the sources that each folder names.
OTHERS = {
    "amd.com",
    "argoproj.io",
    "datasciencecluster.opendatahub.io",
    "deviceplugin.intel.com",
    "dscinitialization.opendatahub.io",
    "gateway.networking.k8s.io",
    "habanalabs.habana.ai",
    "kustomize.toolkit.fluxcd.io",
    "machineconfiguration.openshift.io",
    "monitoring.coreos.com",
    "nfd.k8s-sigs.io",
    "nfd.openshift.io",
    "nvidia.com",
    "operator.openshift.io",
    "operators.coreos.com",
    "route.openshift.io",
    "security.openshift.io",
    "serving.kserve.io",
}


def check(one: Object) -> None:
    """Raises where a field is unknown or of another type; other groups have to be listed."""
    group = one["apiVersion"].partition("/")[0]
    if group in OTHERS:
        return
    assert one["apiVersion"].startswith(OWN), f"{one['apiVersion']} {one['kind']} has no schema"
    kubernetes_validate.validate(one, VERSION, strict=True)


@pytest.mark.parametrize("folder", bases(), ids=name)
def test_built_objects(folder: Path) -> None:
    for one in build(folder):
        check(one)


@pytest.mark.parametrize("folder", components(), ids=name)
def test_objects_of_components(folder: Path) -> None:
    for path in folder.glob("*.yaml"):
        for one in load(path):
            # A replacement of kustomize's has a source.
            if path.name not in PARTS and isinstance(one, dict) and "source" not in one:
                check(one)


def test_an_unknown_field_is_refused() -> None:
    one = load(MANIFESTS / "components/pdb/poddisruptionbudget.yaml")[0]
    one["spec"]["maxUnavailible"] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        check(one)
    assert COMPONENTS.is_dir()
