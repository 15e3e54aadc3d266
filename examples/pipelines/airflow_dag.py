"""An Airflow task: deploy a spec, wait, and return the address."""

from airflow.sdk import dag, task


@task(retries=2)
def serve(spec: str, namespace: str) -> str:
    """Deploy a deployment spec in YAML; a retry changes nothing and continues to wait."""
    from vllm_multinode import Login, deploy, loads, wait

    wanted = loads(spec)
    login = Login(namespace=namespace)
    deploy(wanted, login, progress=print)
    (service, *_) = wait(wanted.name, login, timeout=3600, progress=print)
    return service.url


@dag(dag_id="serve_a_model", schedule=None, params={"spec": "", "namespace": "models"})
def serve_a_model() -> None:
    """Only the task."""
    serve(spec="{{ params.spec }}", namespace="{{ params.namespace }}")


serve_a_model()
