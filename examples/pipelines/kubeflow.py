"""A step of a Kubeflow pipeline: deploy a spec, wait, and return the address."""

from kfp import compiler, dsl


@dsl.component(base_image="python:3.12-slim", packages_to_install=["vllm-multinode[cluster]"])
def serve(spec: str, namespace: str) -> str:
    """Deploy a deployment spec in YAML, with the rights of the step's service account."""
    from vllm_multinode import Login, deploy, loads, wait

    wanted = loads(spec)
    login = Login(namespace=namespace)
    deploy(wanted, login, progress=print)
    (service, *_) = wait(wanted.name, login, timeout=3600, progress=print)
    return service.url


@dsl.pipeline(name="serve-a-model")
def pipeline(spec: str, namespace: str = "models") -> None:
    """Only the step."""
    serve(spec=spec, namespace=namespace)


if __name__ == "__main__":
    compiler.Compiler().compile(pipeline, "pipeline.yaml")
