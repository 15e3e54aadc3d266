"""A Pod that plays the Hugging Face Hub for the Pods beside it: `python -m controlplane.hub FOLDER PORT`."""

import signal
import sys
from pathlib import Path
from typing import Any, Final

from sources.hub import hub
from sources.servers import serve
from vllm_multinode.contract import ports

REPOSITORY: Final = "hf-internal-testing/tiny-random-LlamaForCausalLM"
"""What the overlay without accelerators fetches."""
SOURCE: Final = f"hf://{REPOSITORY}"
NAME: Final = "hub"
CLAIM: Final = "hub-files"
"""The claim with the model that it offers."""
ENDPOINT: Final = f"http://{NAME}:{ports.API}"
"""Where the Pods find it."""
_TESTS: Final = Path(__file__).parents[1]


def objects() -> list[dict[str, Any]]:
    """The Pod, and the Service that gives it a name."""
    labels = {"app": NAME}
    container = {
        "name": NAME,
        "image": "example.com/hub:1",
        "command": ["python", "-m", "controlplane.hub", "/files", str(ports.API)],
        "env": [{"name": "PYTHONPATH", "value": str(_TESTS)}],
        "volumeMounts": [{"name": "files", "mountPath": "/files", "readOnly": True}],
        "readinessProbe": {
            "httpGet": {"path": f"/api/models/{REPOSITORY}/revision/main", "port": ports.API},
            "periodSeconds": 1,
        },
    }
    pod = {
        "terminationGracePeriodSeconds": 1,
        "volumes": [{"name": "files", "persistentVolumeClaim": {"claimName": CLAIM}}],
        "containers": [container],
    }
    return [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": NAME, "labels": labels}, "spec": pod},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": NAME},
            "spec": {"clusterIP": "None", "selector": labels},
        },
    ]


def main(folder: str, port: str) -> None:
    """Serve the files of a folder until SIGTERM."""
    files = {path.name: path.read_bytes() for path in Path(folder).iterdir()}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with serve(hub(files, repository=REPOSITORY), ("", int(port))):
        while True:
            signal.pause()


if __name__ == "__main__":
    main(*sys.argv[1:])
