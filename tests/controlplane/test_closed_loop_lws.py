"""The same loop without KServe: LeaderWorkerSet's own controller makes the pods of the real engine."""

import json
import secrets
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from controlplane.kubelet.kubelet import Kubelet, kubelet
from controlplane.plane.kubectl import Kubectl
from controlplane.plane.running import Plane
from controlplane.test_closed_loop import PATIENCE, condition, image
from engine.services import eventually
from vllm_multinode.authoring.render.lws import NAME, WORKER_INDEX
from vllm_multinode.contract import ports
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.local.run import ask, isvc
from vllm_multinode.local.tiny_model.make_model import make_model

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(
        find_spec("vllm") is None, reason="no vLLM here; `multinode local install` installs it"
    ),
]

_NAME = "tiny"
_REVISION = "leaderworkerset.sigs.k8s.io/template-revision-hash"
_SPEC: dict[str, Any] = {
    "name": _NAME,
    "model": {"claim": "models", "path": "tiny"},
    "parallelism": {"pipeline": 2},
    "accelerator": {"type": "none"},
    "arguments": {"dtype": "float32"},
    "sharedMemory": "1Gi",
    "drain": 5,
}

Pod = dict[str, Any]


@dataclass
class Group:
    """A LeaderWorkerSet of one group, and where it lives.

    Attributes:
        kubectl: in its namespace.
        kubelet: that runs its pods.
        folder: for what is rendered.
    """

    kubectl: Kubectl
    kubelet: Kubelet
    folder: Path

    def render(self, **fields: Any) -> None:
        """Render the spec with these fields, and apply what comes out; as a user does it."""
        file, rendered = self.folder / "spec.json", self.folder / "rendered"
        file.write_text(json.dumps(_SPEC | fields))
        subprocess.run(
            [isvc.program(), "render", "-f", file, "--target", "lws", "--out", rendered],
            check=True,
            capture_output=True,
        )
        self.kubectl("apply", "-k", rendered)

    def pods(self) -> list[Pod]:
        """Leader and worker, once both are there and neither is on its way out."""
        self.kubelet.check()
        found = self.kubectl.list("pods", f"{NAME}={_NAME}")
        if len(found) != 2 or any("deletionTimestamp" in pod["metadata"] for pod in found):
            return []
        return sorted(found, key=lambda pod: str(pod["metadata"]["labels"][WORKER_INDEX]))

    def ready(self, *, without: frozenset[str] = frozenset()) -> list[Pod]:
        """Leader and worker as soon as both serve and the controller has noticed.

        Args:
            without: UIDs of pods that must be gone.
        """

        def found() -> list[Pod]:
            pods = self.pods()
            serving = pods and all(condition(pod, "Ready") == "True" for pod in pods)
            if not serving or without & {pod["metadata"]["uid"] for pod in pods}:
                return []
            noticed = condition(self.kubectl.get("leaderworkerset", _NAME), "Available") == "True"
            return pods if noticed else []

        return eventually(found, PATIENCE, self._shown)

    def answer(self) -> ask.Answer:
        """A completion from the leader."""
        return ask.ask(self.kubelet.url(f"{_NAME}-0", ports.API), "One two three", tokens=8)

    def _shown(self) -> str:
        logs = (f"{name}:\n{text[-3000:]}" for name, text in self.kubelet.logs().items())
        return "\n".join((self.kubectl("get", "leaderworkerset,statefulset,pods", "-o", "wide"), *logs))


def uid(pod: Pod) -> str:
    return str(pod["metadata"]["uid"])


@pytest.fixture(scope="class")
def group(
    request: pytest.FixtureRequest, plane: Plane, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Group]:
    """A rendered group that was applied; each test leaves it ready."""
    if not request.config.getoption("--all-versions"):
        pytest.skip("three starts of the engine take minutes; with --all-versions")
    folder = tmp_path_factory.mktemp("l")
    claim = tmp_path_factory.mktemp("claim")
    make_model(claim / "tiny")
    namespace = f"lws-{secrets.token_hex(4)}"
    plane.kubectl()("create", "namespace", namespace)
    kubectl = plane.kubectl(namespace)
    token = f"--from-literal=token={secrets.token_hex(32)}"
    kubectl("create", "secret", "generic", f"{_NAME}-token", token)
    try:
        with kubelet(
            plane.kubeconfig, namespace, nodes=4, claims={"models": claim}, image=image(), folder=folder
        ) as found:
            group = Group(kubectl, found, folder)
            group.render()
            yield group
    except MultinodeError as error:
        if error.code is ExitCode.NAMESPACES:
            pytest.skip(str(error))
        raise
    finally:
        plane.kubectl()("delete", "namespace", namespace, "--wait=false")


class TestClosedLoop:
    """Its tests build on each other, in this order."""

    def test_what_was_applied_answers_over_two_nodes(self, group: Group) -> None:
        leader, worker = group.ready()
        assert [one["metadata"]["name"] for one in (leader, worker)] == ["tiny-0", "tiny-0-1"]
        assert leader["spec"]["nodeName"] != worker["spec"]["nodeName"]
        assert "-pp2-" in group.answer().fingerprint

    def test_a_deleted_worker_is_replaced_and_the_group_heals(self, group: Group) -> None:
        leader, worker = group.ready()
        before = group.answer()
        group.kubectl("delete", "pod", worker["metadata"]["name"], "--wait=false")
        kept, replaced = group.ready(without=frozenset({uid(worker)}))
        assert uid(kept) == uid(leader)
        assert kept["status"]["containerStatuses"][0]["restartCount"] == 0
        assert uid(replaced) != uid(worker)
        assert group.answer() == before

    def test_a_changed_spec_rolls_the_group(self, group: Group) -> None:
        old = group.ready()
        before = group.answer()
        group.render(context=64)
        new = group.ready(without=frozenset(map(uid, old)))
        assert {pod["metadata"]["labels"][_REVISION] for pod in new}.isdisjoint(
            pod["metadata"]["labels"][_REVISION] for pod in old
        )
        assert "--max-model-len=64" in new[0]["spec"]["containers"][0]["args"]
        assert group.answer().text == before.text
