"""Build a deployment spec, render it for a platform, and write the folder for `kubectl apply -k`."""

import sys
from pathlib import Path

from vllm_multinode import Accelerator, DeploymentSpec, Model, Parallelism, render


def main(folder: str) -> None:
    """Write the folder."""
    spec = DeploymentSpec(
        name="llama-405b",
        namespace="models",
        model=Model(source="hf://our-org/our-405b-fp8", source_secret="hub-token", size="400Gi"),
        parallelism=Parallelism(tensor=8, pipeline=2),
        accelerator=Accelerator(product="NVIDIA-H100-80GB-HBM3"),
        context=32768,
    )
    rendered = render(spec, "openshift-ai-2.25")
    for note in rendered.notes:
        print(f"note: {note}", file=sys.stderr)
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name in rendered.files:
        Path(folder, name).write_text(rendered.text(name), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
