"""The real engine behind mutual TLS: its supervisor finds it ready, watches it, and asks it when in doubt."""

import ssl
import urllib.request
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from certificates import CLIENT, SERVER, Authority
from engine.conftest import Start, Step
from engine.services import service
from vllm_multinode.launcher.engine_api import EngineApi
from vllm_multinode.launcher.tls import ApiTls, Certificate
from vllm_multinode.local.run import isvc
from vllm_multinode.local.world.pod_spec import HostMount

pytestmark = [pytest.mark.engine, pytest.mark.skipif(find_spec("vllm") is None, reason="no vLLM here")]

PATIENCE = 300.0
SECRET = Path("/secret/tls")


async def test_its_supervisor_presents_a_certificate_of_its_own(
    start: Start, made_model: Path, tmp_path: Path, step: Step
) -> None:
    authority = Authority(tmp_path)
    # As OpenShift's service certificates are: good for a server, and rejected as a client's.
    authority.issue("llm", SERVER)
    client = authority.issue("client", CLIENT)
    named = {"--ssl-certfile": "llm.crt", "--ssl-keyfile": "llm.key", "--ssl-ca-certs": "authority.crt"}
    files = [f"{option}={SECRET / name}" for option, name in named.items()]
    env = {
        "MULTINODE_HANG_TIMEOUT": "20",
        "MULTINODE_CLIENT_CERTIFICATE_FILE": f"{SECRET}/client.crt",
        "MULTINODE_CLIENT_KEY_FILE": f"{SECRET}/client.key",
    }
    local = service(made_model, nodes=1, env=env, args=["--dtype", "float32", *files, "--ssl-cert-reqs", "2"])
    mount = HostMount(source=tmp_path, target=SECRET)
    pods = [
        pod.model_copy(update={"mounts": (*pod.mounts, mount)})
        for pod in isvc.pods(local, isvc.cache_directory())
    ]
    group = start(pods)
    with step("mutual TLS: until the supervisor finds it ready"):
        group.wait_until_serving(1, PATIENCE)
    port = urlsplit(group.apis["head"]).port or 0
    assert refuses_strangers(port)
    tls = ApiTls(client, None, ssl.CERT_REQUIRED, None, Certificate(client.file, client.key))
    async with EngineApi(port, tls=tls, api_key=None, model=None) as api:
        before = await api.sample()
        assert await api.canary(PATIENCE) == 200
        after = await api.sample()
    assert before is not None
    assert after is not None
    assert before.step != after.step
    status = group.status()
    assert (status["state"], status["recoveries"]) == ("serving", 0)


def refuses_strangers(port: int) -> bool:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        urllib.request.urlopen(f"https://127.0.0.1:{port}/health", context=context, timeout=30).close()
    except OSError:
        return True
    return False
