"""Each public case, on each platform that it is about: what is said, and the exit code of both commands."""

from typing import Any

import pytest

from unit.authoring.rules.public_cases import PUBLIC, public_file
from vllm_multinode.cli.app import run
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.platforms.releases import RELEASES

OPENSHIFT_AI = [one.name for one in RELEASES["openshift-ai"] if one.knows_worker_spec]
KSERVE = [one.name for one in RELEASES["kserve"] if one.knows_worker_spec]


def between(first: str, last: str) -> list[str]:
    """The releases of OpenShift AI from one to another."""
    numbers = [name.removeprefix("openshift-ai-") for name in OPENSHIFT_AI]
    return OPENSHIFT_AI[numbers.index(first) : numbers.index(last) + 1]


STOPS, SERVES, NOT_CHECKED = ExitCode.WILL_NOT_SERVE, ExitCode.OK, ExitCode.NOT_CHECKED
# The case, platforms, exit code, and words that are said.
ROWS: list[tuple[str, list[str], ExitCode, str]] = [
    ("ocp-guide-external", between("2.16", "2.22"), SERVES, "the one that OpenShift AI"),
    ("ocp-guide-external", between("2.23", "3.6"), STOPS, "Multinode only supports 'none' autoscaler"),
    ("ocp-oci", between("2.24", "3.0"), STOPS, "no container found with name kserve-container"),
    ("ocp-oci", ["openshift-ai-2.23", "openshift-ai-3.2"], SERVES, "risk"),
    ("renamed-runtime", between("2.19", "2.22"), STOPS, "ray-tls"),
    ("ocp-claim", ["openshift-ai-3.5"], STOPS, "kserve#6113"),
    ("ocp-claim", ["openshift-ai-3.5"], STOPS, "--target lws"),
    ("kserve-guide", ["kserve-0.21.0"], SERVES, "0.21.0 is unknown"),
    ("kserve-guide", ["kserve-0.15.2", "kserve-0.19.0"], SERVES, "the one that KServe"),
    ("template-ray", ["openshift-ai-2.16"], SERVES, "(1 object"),
    ("template-tls", ["openshift-ai-2.25"], SERVES, "(1 object"),
    ("template-mp", ["openshift-ai-3.5"], SERVES, "(1 object"),
    ("hardware-profile", ["openshift-ai-3.4"], SERVES, "h100x4"),
    ("enable-auth", ["openshift-ai-2.25"], SERVES, "8443"),
    ("standard-mode", ["openshift-ai-2.25"], SERVES, "does not know the deployment mode Standard"),
    ("node-selector-in-model", ["openshift-ai-2.25"], STOPS, "no field nodeSelector"),
    ("own-probe", between("2.16", "3.3"), STOPS, ""),
    # Its own readiness asks by HTTP as well.
    ("own-probe", ["openshift-ai-3.4"], SERVES, ""),
    ("own-probe-hf", KSERVE[2:], STOPS, "2 handlers (exec, httpGet)"),
    ("mount-without-volume", KSERVE[1:], STOPS, ""),
    ("modelmesh", ["openshift-ai-2.25", *KSERVE[1:]], STOPS, "ModelMesh"),
    (
        "none-with-metrics",
        [one for one in KSERVE[1:] if "0.20" not in one],
        SERVES,
        "maxReplicas 4 has no effect",
    ),
    ("llm-pipeline", KSERVE, NOT_CHECKED, "kserve#5047"),
    ("llm-data-parallel", KSERVE, NOT_CHECKED, "data and expert parallelism"),
    ("llm-beside-a-service", ["kserve-0.19.0"], SERVES, "LLMInferenceService"),
    ("ray-service", KSERVE, NOT_CHECKED, "KubeRay"),
    ("kaito-workspace", KSERVE, NOT_CHECKED, "KAITO"),
    ("kaito-inference-set", KSERVE, NOT_CHECKED, "KAITO"),
    ("production-stack-values", KSERVE, NOT_CHECKED, "Helm chart"),
    ("blueprint", KSERVE, NOT_CHECKED, "OCI AI Blueprints"),
    ("wish-data-parallel", KSERVE, ExitCode.SPEC, "LLMInferenceService or a LeaderWorkerSet of llm-d"),
    ("wish-data-parallel-argument", KSERVE, ExitCode.SPEC, "LLMInferenceService or a LeaderWorkerSet"),
    ("own-spec", ["kserve-0.19.0", "openshift-ai-2.25"], SERVES, "1 object"),
]


def _rows() -> list[Any]:
    return [
        pytest.param(name, platform, code, words, id=f"{name}-{platform}-{words[:20]}")
        for name, platforms, code, words in ROWS
        for platform in platforms
    ]


def test_every_case_has_a_row() -> None:
    assert {row[0] for row in ROWS} == set(PUBLIC)


@pytest.mark.parametrize(("name", "platform", "code", "words"), _rows())
def test_what_is_said(
    name: str, platform: str, code: ExitCode, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(public_file(name))
    assert run(["validate", "-f", file, "--platform", platform]) == code, capsys.readouterr()
    said = "".join(capsys.readouterr())
    assert words.lower() in said.lower(), said
    if not name.startswith("template"):
        assert run(["preview", "-f", file, "--platform", platform]) == code, capsys.readouterr()
