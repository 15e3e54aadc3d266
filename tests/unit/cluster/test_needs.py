"""What a deployment lacks is one line, before anything is written."""

from typing import Any

import pytest

from unit.cluster.objects import fetching
from unit.cluster.stub_api import StubApi, status
from vllm_multinode.authoring.render import render
from vllm_multinode.authoring.spec import DeploymentSpec
from vllm_multinode.cluster import needs
from vllm_multinode.cluster.client import Cluster
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode

DEFAULT = {"storageclass.kubernetes.io/is-default-class": "true"}


def storage_class(api: StubApi, name: str = "nfs", annotations: dict[str, str] | None = None) -> None:
    api.put(
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": name, "annotations": annotations or {}},
        }
    )


def claim(api: StubApi, size: str = "20Gi", mode: str = "ReadWriteMany") -> None:
    api.put(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "llm-model"},
            "spec": {"accessModes": [mode], "resources": {"requests": {"storage": size}}},
        }
    )


def secret(api: StubApi, name: str, *keys: str) -> None:
    data = dict.fromkeys(keys, "eA==")
    api.put({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data})


def refusal(cluster: Cluster, given: list[dict[str, Any]]) -> str:
    with pytest.raises(MultinodeError) as caught:
        needs.check(cluster, given)
    assert caught.value.code == ExitCode.MISSING
    assert "Nothing was written" in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("source", "command"),
    [
        pytest.param("hf://org/llm", "secret generic s -n demo --from-file=token=FILE", id="hf"),
        pytest.param("s3://bucket/llm", "secret generic s -n demo --from-env-file=FILE", id="s3"),
        pytest.param(
            "oci://registry/llm:1",
            "--type=kubernetes.io/dockerconfigjson --from-file=.dockerconfigjson=FILE",
            id="oci",
        ),
    ],
)
def test_a_missing_secret_is_named_with_its_command(
    api: StubApi, cluster: Cluster, source: str, command: str
) -> None:
    storage_class(api, annotations=DEFAULT)
    assert command in refusal(cluster, fetching(source, sourceSecret="s"))


def test_a_secret_without_the_key_is_named(api: StubApi, cluster: Cluster) -> None:
    secret(api, "s", "tokens")
    assert "Secret demo/s: has no key token" in refusal(cluster, fetching(sourceSecret="s"))


def test_all_is_there(api: StubApi, cluster: Cluster) -> None:
    storage_class(api, annotations=DEFAULT)
    secret(api, "s", "token")
    needs.check(cluster, fetching(sourceSecret="s"))


def test_who_may_not_read_secrets_or_classes_is_let_through(api: StubApi, cluster: Cluster) -> None:
    for plural in ("secrets", "storageclasses"):
        api.refuse("GET", f"/{plural}", 403, status(403, f"{plural} is forbidden", "Forbidden"))
    needs.check(cluster, fetching(sourceSecret="s"))


@pytest.mark.parametrize(
    ("classes", "model", "says"),
    [
        pytest.param(
            [],
            {},
            "Nothing was written. In this cluster there is none",
            id="none",
        ),
        pytest.param(
            ["nfs"], {}, "no default. Nothing was written. In this cluster there are nfs", id="default"
        ),
        pytest.param(
            ["nfs"],
            {"createClaim": {"storageClassName": "efs"}},
            "its storage class efs does not exist",
            id="unknown",
        ),
    ],
)
def test_a_class_that_is_not_there(
    api: StubApi, cluster: Cluster, classes: list[str], model: dict[str, Any], says: str
) -> None:
    for name in classes:
        storage_class(api, name)
    assert says in refusal(cluster, fetching(**model))


@pytest.mark.parametrize(
    ("present", "says"),
    [
        pytest.param({"size": "5Gi"}, "has 5Gi, but 11Gi are needed", id="too-small"),
        pytest.param({"mode": "ReadWriteOnce"}, "has the access mode ReadWriteOnce", id="not-shared"),
    ],
)
def test_a_claim_that_will_not_do(api: StubApi, cluster: Cluster, present: dict[str, str], says: str) -> None:
    claim(api, **present)
    assert says in refusal(cluster, fetching())


def test_a_larger_claim_will_do(api: StubApi, cluster: Cluster) -> None:
    claim(api)
    needs.check(cluster, fetching())


def published(way: Any) -> list[dict[str, Any]]:
    spec = {"name": "llm", "model": {"claim": "m"}, "parallelism": {"pipeline": 2}, "publish": way}
    documents = render(DeploymentSpec.model_validate(spec)).documents
    return [one for one in documents if one["kind"] not in ("PersistentVolumeClaim", "Job")]


@pytest.mark.parametrize("way", ["ingress", "gateway"])
def test_a_certificate_that_is_missing(api: StubApi, cluster: Cluster, way: str) -> None:
    said = refusal(cluster, published(way))
    assert "kubectl create secret tls llm-tls -n demo --cert=FILE --key=FILE" in said
    secret(api, "llm-tls", "tls.crt", "tls.key")
    needs.check(cluster, published(way))


def test_a_certificate_that_somebody_will_make(cluster: Cluster) -> None:
    issuer = {"cert-manager.io/cluster-issuer": "own"}
    needs.check(cluster, published({"via": "ingress", "annotations": issuer}))
    needs.check(cluster, published({"via": "route", "reencrypt": True}))
