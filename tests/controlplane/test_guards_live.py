"""Secrets that a Job fills, against a real API server with its real roles; and components, each with each."""

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from controlplane.plane.kubectl import Kubectl, KubectlError
from controlplane.plane.running import Plane
from controlplane.test_manifests_live import ABSENT, strictly
from manifests.folders import OVERLAYS, build, of_kind
from manifests.test_components import PAIRS, together
from vllm_multinode.authoring.folder import write
from vllm_multinode.authoring.render import render
from vllm_multinode.authoring.render.secrets import ROLE
from vllm_multinode.authoring.spec import DeploymentSpec
from vllm_multinode.contract.labels import COMPONENT

TINY = OVERLAYS / "tiny"
KINDS = ("Secret", "ServiceAccount", "Role", "RoleBinding")
BATCH = 16
# Pairs of an ordinary run; with --all-versions it is every one.
SOME = 32


def account(plane: Plane, kubectl: Kubectl, name: str, folder: Path) -> dict[str, str]:
    """What a kubelet gives a Pod of this service account, for the program that fills Secrets."""
    cluster = json.loads(plane.kubeconfig.read_text())["clusters"][0]["cluster"]
    host, _, port = cluster["server"].removeprefix("https://").rpartition(":")
    folder.mkdir(exist_ok=True)
    (folder / "token").write_text(kubectl("create", "token", name))
    (folder / "ca.crt").write_bytes(Path(cluster["certificate-authority"]).read_bytes())
    (folder / "namespace").write_text(kubectl.namespace)
    return {
        "SERVICE_ACCOUNT_FOLDER": str(folder),
        "KUBERNETES_SERVICE_HOST": host,
        "KUBERNETES_SERVICE_PORT": port,
    }


def run(job: dict[str, Any], variables: dict[str, str], *instead: str) -> subprocess.CompletedProcess[str]:
    """The Job's container, on this machine."""
    (container,) = job["spec"]["template"]["spec"]["containers"]
    program, *words = container["command"]
    assert program == "python3"
    text = [word.replace("PATIENCE = 60", "PATIENCE = 0" if instead else "PATIENCE = 60") for word in words]
    return subprocess.run(
        [sys.executable, "-I", *text, *(instead or container["args"])],
        env=variables, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def value(kubectl: Kubectl, name: str, key: str) -> bytes:
    return base64.b64decode((kubectl.get("secret", name).get("data") or {}).get(key, ""))


def filler(objects: list[Any]) -> dict[str, Any]:
    (job,) = [
        one for one in of_kind(objects, "Job") if one["metadata"].get("labels", {}).get(COMPONENT) == ROLE
    ]
    return job


def test_the_overlay_s_token_is_made_once_and_survives(
    plane: Plane, kubectl: Kubectl, tmp_path: Path
) -> None:
    objects = list(build(TINY))
    kubectl("apply", "-k", TINY)
    assert value(kubectl, "tiny-vllm-token", "token") == b""
    job = filler(objects)
    variables = account(plane, kubectl, job["spec"]["template"]["spec"]["serviceAccountName"], tmp_path / "a")
    done = run(job, variables)
    assert done.returncode == 0, done.stderr
    token = value(kubectl, "tiny-vllm-token", "token")
    key = value(kubectl, "tiny-vllm-api-key", "api-key")
    assert len(token) == len(key) == 64
    assert token != key
    # Again, by either kind of apply, and by another run of the Job.
    kubectl("apply", "-k", TINY)
    kubectl("apply", "--server-side", "--force-conflicts", "-k", TINY)
    assert run(job, variables).returncode == 0
    assert value(kubectl, "tiny-vllm-token", "token") == token
    assert value(kubectl, "tiny-vllm-api-key", "api-key") == key
    kubectl("delete", "-k", TINY, "--wait=false")
    assert "NotFound" in refusal(kubectl, "tiny-vllm-token")


def refusal(kubectl: Kubectl, name: str) -> str:
    with pytest.raises(KubectlError) as refused:
        kubectl.get("secret", name)
    return str(refused.value)


def test_the_job_may_touch_its_own_secrets_alone(plane: Plane, kubectl: Kubectl, tmp_path: Path) -> None:
    kubectl.apply(*(one for one in build(TINY) if one["kind"] in KINDS))
    kubectl("create", "secret", "generic", "another", "--from-literal=mine=1")
    job = filler(list(build(TINY)))
    variables = account(plane, kubectl, job["spec"]["template"]["spec"]["serviceAccountName"], tmp_path / "a")
    done = run(job, variables, "another", "token")
    assert done.returncode == 1
    assert "403" in done.stderr
    assert kubectl.get("secret", "another")["data"].keys() == {"mine"}


def test_a_rendered_folder_keeps_its_token_over_a_second_render(
    plane: Plane, kubectl: Kubectl, tmp_path: Path
) -> None:
    fields: dict[str, Any] = {"name": "llm", "model": {"claim": "models"}, "parallelism": {"pipeline": 2}}
    kept = []
    for more in ({}, {"publish": "ingress", "context": 4096}):
        made = render(DeploymentSpec.model_validate(fields | more), plane.kserve.removeprefix("v"))
        write(tmp_path / "llm", {name: made.text(name) for name in made.files})
        kubectl("apply", "-k", tmp_path / "llm")
        job = filler(made.documents)
        variables = account(plane, kubectl, "llm-secrets", tmp_path / "a")
        assert run(job, variables).returncode == 0
        kept.append(value(kubectl, "llm-token", "token"))
    assert kept[0] == kept[1] != b""
    assert len(value(kubectl, "llm-api-key", "api-key")) == 64


def test_every_two_components_are_admitted_strictly(
    plane: Plane, kubectl: Kubectl, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """With the API server's own fields and KServe's webhooks; each pair under names of its own."""
    version = f"kserve-{plane.kserve.removeprefix('v')}"
    pairs = [pair for pair in PAIRS if all(not one.startswith("kserve-") or one == version for one in pair)]
    if not request.config.getoption("--all-versions"):
        pairs = pairs[:: len(pairs) // SOME + 1]
    made = [
        # All bring the same launcher.
        [one for one in objects if not one["apiVersion"].startswith(ABSENT) and "binaryData" not in one]
        for objects in together(tmp_path, pairs).values()
    ]
    assert all(of_kind(objects, "InferenceService") for objects in made)
    for start in range(0, len(made), BATCH):
        documents = [
            renamed(one, f"p{number}")
            for number, objects in enumerate(made[start : start + BATCH])
            for one in objects
            if "namespace" not in one["metadata"]
        ]
        assert strictly(kubectl, documents)


def renamed(one: dict[str, Any], prefix: str) -> dict[str, Any]:
    """Under another name; the references of an object are no matter of its admission."""
    return {**one, "metadata": {**one["metadata"], "name": f"{prefix}-{one['metadata']['name']}"}}
