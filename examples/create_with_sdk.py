"""Deploy what a service needs, create its InferenceService with the KServe SDK, and wait until it serves."""

from kserve import KServeClient

from vllm_multinode import (
    DeploymentSpec,
    Login,
    Model,
    Parallelism,
    deploy,
    inference_service,
    render,
    wait,
)

PLATFORM = "kserve-0.19.0"
MODELS = Login(namespace="models")


def main() -> None:
    """Create and wait; an error is a MultinodeError, or the SDK's own."""
    spec = DeploymentSpec(
        name="llama",
        namespace=MODELS.namespace,
        model=Model(claim="models", path="llama"),
        parallelism=Parallelism(tensor=4, pipeline=2),
    )
    rest = [each for each in render(spec, PLATFORM).documents if each["kind"] != "InferenceService"]
    deploy(rest, MODELS, platform=PLATFORM, name=spec.name)
    KServeClient().create(inference_service(spec, PLATFORM), namespace=MODELS.namespace)
    for service in wait(spec.name, MODELS, timeout=3600, progress=print):
        print(f"{service.name} serves at {service.url}")


if __name__ == "__main__":
    main()
