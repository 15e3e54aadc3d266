"""Which release a cluster runs: where it stands, and which number is another one."""

from typing import Any

import pytest

from unit.cluster.objects import controller
from unit.cluster.stub_api import StubApi
from vllm_multinode.cluster.client import Cluster
from vllm_multinode.cluster.versions import release_of
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.platforms.releases import find

DIGEST = "registry.example.com/rhoai/odh-kserve-controller-rhel9@sha256:" + "0" * 64


def deployment(
    image: str = DIGEST, namespace: str = "redhat-ods-applications", **annotations: str
) -> dict[str, Any]:
    body = controller(image, namespace)
    notes = {f"platform.opendatahub.io/{key}": value for key, value in annotations.items()}
    return {**body, "metadata": {**body["metadata"], "annotations": notes}}


def crd(**annotations: str) -> dict[str, Any]:
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": "inferenceservices.serving.kserve.io",
            "annotations": {f"platform.opendatahub.io/{key}": value for key, value in annotations.items()},
        },
    }


def data_science_cluster(version: str, kserve: str) -> dict[str, Any]:
    return {
        "apiVersion": "datasciencecluster.opendatahub.io/v1",
        "kind": "DataScienceCluster",
        "metadata": {"name": "default-dsc"},
        "status": {
            "release": {"name": "OpenShift AI Self-Managed", "version": version},
            "components": {"kserve": {"releases": [{"name": "KServe", "version": kserve}]}},
        },
    }


def operator(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "operators.coreos.com/v1alpha1",
        "kind": "ClusterServiceVersion",
        "metadata": {"name": name, "namespace": "redhat-ods-operator"},
    }


@pytest.mark.parametrize(
    ("objects", "name", "place"),
    [
        pytest.param(
            [deployment(version="2.25.6", type="OpenShift AI Self-Managed")],
            "openshift-ai-2.25",
            "2.25.6, says the Deployment kserve-controller-manager in namespace redhat-ods-applications",
            id="annotation-of-the-controller",
        ),
        pytest.param(
            [deployment(), crd(version="3.4.0", type="OpenShift AI Cloud Service")],
            "openshift-ai-3.4",
            "3.4.0, says the CustomResourceDefinition inferenceservices.serving.kserve.io",
            id="annotation-of-the-definition",
        ),
        pytest.param(
            [deployment(), data_science_cluster("2.22.1", "v0.14.0")],
            "openshift-ai-2.22",
            "2.22.1, says the DataScienceCluster default-dsc",
            id="not-the-number-of-the-component",
        ),
        pytest.param(
            [deployment(), operator("rhods-operator.2.16.3"), operator("servicemeshoperator.v2.6.0")],
            "openshift-ai-2.16",
            "2.16.3, says the ClusterServiceVersion rhods-operator.2.16.3",
            id="operator",
        ),
        pytest.param(
            [deployment("kserve/kserve-controller:v0.19.0", "kserve")],
            "kserve-0.19.0",
            "0.19.0, says the Deployment kserve-controller-manager in namespace kserve",
            id="tag-of-the-image",
        ),
        pytest.param(
            [deployment(version="3.9.1")],
            "openshift-ai-3.9",
            "OpenShift AI 3.9 is unknown; the behaviour of 3.6 is assumed. kserve#6113 is not assumed.",
            id="newer-than-any",
        ),
    ],
)
def test_the_release_is_read_from_what_the_operator_wrote(
    api: StubApi, cluster: Cluster, objects: list[dict[str, Any]], name: str, place: str
) -> None:
    for body in objects:
        api.put(body)
    release, remark = release_of(cluster)
    assert release.name == name
    assert f"The cluster runs {release.label} (" in remark
    assert place in remark


@pytest.mark.parametrize(
    ("objects", "words"),
    [
        pytest.param([], "no controller can be seen", id="nothing"),
        pytest.param([deployment()], "namespace redhat-ods-applications does not say", id="digest-alone"),
        pytest.param(
            [deployment(version="2.30.0", type="Open Data Hub")],
            "it runs Open Data Hub 2.30.0, whose KServe is not known here",
            id="open-data-hub",
        ),
        pytest.param([deployment(version="2.15.0")], "OpenShift AI 2.15 drops workerSpec", id="too-old"),
    ],
)
def test_what_cannot_be_told_is_asked_for(
    api: StubApi, cluster: Cluster, objects: list[dict[str, Any]], words: str
) -> None:
    for body in objects:
        api.put(body)
    with pytest.raises(MultinodeError) as refused:
        release_of(cluster)
    assert refused.value.code is ExitCode.USAGE
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("named", "words"),
    [
        pytest.param("rhoai-2.25", "", id="the-same"),
        pytest.param(
            "rhoai-2.22",
            "although the cluster runs OpenShift AI 2.25 according to the Deployment",
            id="another",
        ),
    ],
)
def test_what_the_user_names_is_taken(api: StubApi, cluster: Cluster, named: str, words: str) -> None:
    api.put(deployment(version="2.25.0"))
    release, remark = release_of(cluster, find(named))
    assert release is find(named)
    assert words in remark
    assert bool(remark) is bool(words)
