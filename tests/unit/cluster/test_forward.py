"""A completion of a head that asks for an API key: through a port-forward, with the key from its Secret."""

import asyncio
import base64
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import WSMsgType, web

from certificates import SERVER, Authority
from unit.cluster.objects import running
from vllm_multinode.cluster.client import Cluster
from vllm_multinode.cluster.supervisor import completion
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode

KEY = "key-of-the-clients"


class Api:
    """An API server with one Secret, and a pod's port behind its port-forward."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.secret: dict[str, str] = {"api-key": base64.b64encode(KEY.encode()).decode()}
        self.forbidden = False
        self.seen: list[str] = []
        self.url = ""

    async def core(self, _: web.Request) -> web.Response:
        kinds = [{"name": "secrets", "kind": "Secret", "namespaced": True}]
        return web.json_response({"kind": "APIResourceList", "resources": kinds})

    async def secrets(self, request: web.Request) -> web.Response:
        return web.json_response({"metadata": {"name": request.match_info["name"]}, "data": self.secret})

    async def forward(self, request: web.Request) -> web.StreamResponse:
        if self.forbidden:
            return web.json_response({"kind": "Status", "reason": "Forbidden", "code": 403}, status=403)
        socket = web.WebSocketResponse(protocols=("v4.channel.k8s.io",))
        await socket.prepare(request)
        port = int(request.query["ports"]).to_bytes(2, "little")
        for channel in (0, 1):
            await socket.send_bytes(bytes([channel]) + port)
        reader, writer = await asyncio.open_connection("127.0.0.1", self.engine_port)

        async def back() -> None:
            while data := await reader.read(4096):
                await socket.send_bytes(b"\0" + data)
            await socket.close()

        task = asyncio.create_task(back())
        async for message in socket:
            if message.type == WSMsgType.BINARY:
                writer.write(message.data[1:])
        writer.close()
        await task
        return socket

    async def models(self, request: web.Request) -> web.Response:
        self.seen.append(request.headers.get("Authorization", ""))
        if self.seen[-1] != f"Bearer {KEY}":
            return web.json_response({"error": "Unauthorized"}, status=401)
        return web.json_response({"data": [{"id": "llm"}]})

    async def completions(self, request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == f"Bearer {KEY}"
        assert (await request.json())["prompt"] == "One two"
        return web.json_response({"choices": [{"text": " three"}]})

    async def start(self) -> None:
        engine = web.Application()
        engine.add_routes([web.get("/v1/models", self.models), web.post("/v1/completions", self.completions)])
        api = web.Application()
        pod = "/api/v1/namespaces/demo/pods/{name}/portforward"
        api.add_routes(
            [
                web.get("/api/v1", self.core),
                web.get("/api/v1/namespaces/demo/secrets/{name}", self.secrets),
                web.get(pod, self.forward),
            ]
        )
        self.runners = [web.AppRunner(engine), web.AppRunner(api)]
        ports = []
        for runner in self.runners:
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            ports.append(runner.addresses[0][1])
        certificate = Authority(self.folder).issue("llm", SERVER)
        secured = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        secured.load_cert_chain(certificate.file, certificate.key)
        await web.TCPSite(self.runners[0], "127.0.0.1", 0, ssl_context=secured).start()
        self.engine_port, self.secured_port = (address[1] for address in self.runners[0].addresses)
        self.url = f"http://127.0.0.1:{ports[1]}"


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    api, ready = Api(tmp_path), threading.Event()
    loop = asyncio.new_event_loop()

    async def main() -> None:
        await api.start()
        ready.set()
        await stop.wait()
        for runner in api.runners:
            await runner.cleanup()

    async def begin() -> asyncio.Event:
        return asyncio.Event()

    stop = loop.run_until_complete(begin())
    thread = threading.Thread(target=loop.run_until_complete, args=(main(),))
    thread.start()
    assert ready.wait(10)
    yield api
    loop.call_soon_threadsafe(stop.set)
    thread.join()
    loop.close()


@pytest.fixture
def cluster(api: Api, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Iterator[Cluster]:
    file = tmp_path / "kubeconfig"
    file.write_text(
        f"""
apiVersion: v1
kind: Config
current-context: t
clusters: [{{name: c, cluster: {{server: "{api.url}"}}}}]
users: [{{name: u, user: {{token: t}}}}]
contexts: [{{name: t, context: {{cluster: c, user: u, namespace: demo}}}}]
"""
    )
    monkeypatch.setenv("KUBECONFIG", str(file))
    with Cluster.connect() as found:
        yield found


def head() -> dict[str, Any]:
    pod = running()
    reference = {"secretKeyRef": {"name": "llm-api-key", "key": "api-key"}}
    pod["spec"]["containers"][0]["env"] = [{"name": "VLLM_API_KEY", "valueFrom": reference}]
    return pod


def test_the_key_goes_along(api: Api, cluster: Cluster) -> None:
    assert completion(cluster, head(), "One two") == " three"


def test_the_key_goes_along_within_tls(api: Api, cluster: Cluster) -> None:
    api.engine_port = api.secured_port
    pod = head()
    pod["spec"]["containers"][0]["args"] = ["--ssl-certfile", "/tls/tls.crt", "--ssl-keyfile", "/tls/tls.key"]
    assert completion(cluster, pod, "One two") == " three"
    assert api.seen == [f"Bearer {KEY}"]


def test_tls_where_none_is_spoken_is_one_line(api: Api, cluster: Cluster) -> None:
    pod = head()
    pod["spec"]["containers"][0]["args"] = ["--ssl-certfile", "/tls/tls.crt", "--ssl-keyfile", "/tls/tls.key"]
    with pytest.raises(MultinodeError, match="no answer: ") as refused:
        completion(cluster, pod, "One two")
    assert refused.value.code == ExitCode.NOT_SERVING


def test_a_wrong_key_is_one_line_without_the_key(api: Api, cluster: Cluster) -> None:
    api.secret = {"api-key": base64.b64encode(b"another-secret").decode()}
    with pytest.raises(MultinodeError, match="returned 401") as refused:
        completion(cluster, head(), "One two")
    assert "another-secret" not in str(refused.value)


def test_a_secret_without_the_key(api: Api, cluster: Cluster) -> None:
    api.secret = {}
    with pytest.raises(MultinodeError, match="has no key api-key") as refused:
        completion(cluster, head(), "One two")
    assert refused.value.code == ExitCode.MISSING


def test_who_may_not_forward_is_told(api: Api, cluster: Cluster) -> None:
    api.forbidden = True
    with pytest.raises(MultinodeError, match="may not forward ports") as refused:
        completion(cluster, head(), "One two")
    assert refused.value.code == ExitCode.FORBIDDEN
