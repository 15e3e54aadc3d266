"""manifests/storage: what its Jobs run, under which rights, and what they take for final."""

import re
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from vllm_multinode.authoring.render.application import FILE
from vllm_multinode.authoring.render.images import RELEASED
from vllm_multinode.authoring.render.names import LAUNCHER_FOLDER, USER
from vllm_multinode.cli.fetch import parser
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.k8s import kustomize
from vllm_multinode.storage.sources.open import open_source

ROOT = Path(__file__).parents[3]
STORAGE = ROOT / "manifests" / "storage"
JOBS = ("hub", "s3", "oci", "copy")
PODS = (*JOBS, "reader")


@cache
def build(folder: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(kustomize.build(folder)))


@pytest.fixture(autouse=True)
def kubectl() -> None:
    try:
        kustomize.builder()
    except MultinodeError as error:
        pytest.skip(str(error))


def pod(folder: str) -> dict[str, Any]:
    (made,) = [one for one in build(STORAGE / folder) if one["kind"] != "ConfigMap"]
    spec: dict[str, Any] = made["spec"]["template"]["spec"] if made["kind"] == "Job" else made["spec"]
    return spec


@pytest.mark.parametrize("folder", JOBS)
def test_a_job_runs_a_command_line_that_can_be_read(folder: str) -> None:
    (container,) = pod(folder)["containers"]
    assert container["command"] == ["python3", f"{LAUNCHER_FOLDER}/{FILE}"]
    assert container["args"][0] == "fetch"
    given = parser().parse_args(container["args"][1:])
    open_source(given.source, {})
    mounted = {one["mountPath"] for one in container["volumeMounts"] if not one.get("readOnly")}
    assert Path("/", given.directory.parts[1]).as_posix() in mounted


@pytest.mark.parametrize("folder", PODS)
def test_a_pod_is_what_pod_security_restricted_wants(folder: str) -> None:
    spec = pod(folder)
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"] == {"fsGroup": USER, "fsGroupChangePolicy": "OnRootMismatch"}
    for container in spec["containers"]:
        assert container["image"] == RELEASED["nvidia"]
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": 0,
            "seccompProfile": {"type": "RuntimeDefault"},
        }


@pytest.mark.parametrize("folder", JOBS)
def test_no_secret_is_needed_to_start_and_none_stands_there(folder: str) -> None:
    spec = pod(folder)
    (container,) = spec["containers"]
    references = [one["valueFrom"]["secretKeyRef"] for one in container["env"] if "secretKeyRef" in str(one)]
    references += [one["secretRef"] for one in container.get("envFrom", ())]
    references += [one["secret"] for one in spec["volumes"] if "secret" in one]
    assert all(one["optional"] for one in references)


def test_everybody_means_the_same_claim() -> None:
    (claim,) = build(STORAGE / "claim")
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    named = {
        volume["persistentVolumeClaim"]["claimName"]
        for folder in PODS
        for volume in pod(folder)["volumes"]
        if volume["name"] == "models"
    }
    assert named == {claim["metadata"]["name"]}


def test_what_passes_is_tried_again_and_what_does_not_is_final() -> None:
    (job,) = [one for one in build(STORAGE / "job") if one["kind"] == "Job"]
    final = {
        code
        for rule in job["spec"]["podFailurePolicy"]["rules"]
        for code in rule.get("onExitCodes", {}).get("values", ())
    }
    assert final == {
        ExitCode.USAGE,
        ExitCode.VARIABLE,
        ExitCode.MODEL_MISSING,
        ExitCode.MODEL_CONFIG,
        ExitCode.SHARD_TRUNCATED,
        ExitCode.SHARD_ABSENT,
        ExitCode.NOT_WRITABLE,
        ExitCode.IMAGE,
        ExitCode.SOURCE_DENIED,
        ExitCode.CLAIM_FULL,
    }
    # Kubernetes takes a podFailurePolicy with no other restart policy.
    assert job["spec"]["template"]["spec"]["restartPolicy"] == "Never"


def test_the_example_of_the_readme(tmp_path: Path) -> None:
    text = (STORAGE / "README.md").read_text()
    (example,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    shutil.copytree(ROOT / "manifests", tmp_path / "manifests")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "kustomization.yaml").write_text(example)
    made = {one["kind"]: one for one in build(tmp_path / "mine")}
    (container,) = made["Job"]["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["fetch", "hf://meta-llama/Llama-3.3-70B-Instruct", "/models/llama-3.3-70b"]
    assert container["image"] == "registry.example/vllm:v0.32.0"
    assert made["PersistentVolumeClaim"]["spec"]["storageClassName"] == "ocs-storagecluster-cephfs"
