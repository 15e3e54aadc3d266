import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from certificates import CLIENT, SERVER, Authority
from vllm_multinode.contract import env
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.launcher.engine_api import EngineApi
from vllm_multinode.launcher.settings import read_settings
from vllm_multinode.launcher.tls import ApiTls, Certificate, api_tls, check_tls, supervisors_tls


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def mutual(own: Certificate, authority: Authority, client: Certificate | None = None) -> ApiTls:
    found = api_tls(arguments(own, "--ssl-ca-certs", str(authority.file), "--ssl-cert-reqs", "2"), client)
    assert found is not None
    return found


def arguments(own: Certificate, *more: str) -> list[str]:
    key = ["--ssl-keyfile", own.key] if own.key else []
    return ["--ssl-certfile", own.file, *key, *more]


@pytest.mark.parametrize(
    "written",
    [
        pytest.param([], id="nothing"),
        pytest.param(["--ssl-ca-certs", "/ca"], id="an-authority-alone"),
    ],
)
def test_without_a_certificate_the_api_speaks_plain_http(written: list[str]) -> None:
    assert api_tls(written, None) is None


@pytest.mark.parametrize(
    "written",
    [
        pytest.param(["--ssl-certfile", "{c}", "--ssl-keyfile", "{k}"], id="dashes"),
        pytest.param(["--ssl_certfile={c}", "--ssl_keyfile={k}"], id="underscores-and-equals"),
        pytest.param(["--ssl-certfile", "/old", "--ssl-keyfile={k}", "--ssl-certfile", "{c}"], id="the-last"),
    ],
)
def test_the_files_are_those_that_vllm_takes(authority: Authority, written: list[str]) -> None:
    own = authority.issue("llm")
    found = api_tls([word.format(c=own.file, k=own.key) for word in written], None)
    assert found is not None
    assert found.own == found.client == own
    check_tls(found)


def expired(authority: Authority) -> ApiTls:
    return mutual(authority.issue("llm", days=-1), authority)


def for_servers_alone(authority: Authority) -> ApiTls:
    return mutual(authority.issue("llm", SERVER), authority)


def of_another_authority(authority: Authority) -> ApiTls:
    other = Authority(authority.file.parent, "other")
    return mutual(authority.issue("llm"), other)


def a_client_of_another_authority(authority: Authority) -> ApiTls:
    other = Authority(authority.file.parent, "other")
    return mutual(authority.issue("llm"), authority, other.issue("probe", CLIENT))


def no_authority(authority: Authority) -> ApiTls:
    found = api_tls(arguments(authority.issue("llm"), "--ssl-cert-reqs", "2"), None)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("made", "words"),
    [
        pytest.param(for_servers_alone, "presents vLLM's own certificate: un", id="for-servers-alone"),
        pytest.param(expired, "certificate has expired", id="expired"),
        pytest.param(of_another_authority, "unable to get local issuer", id="of-another-authority"),
        pytest.param(a_client_of_another_authority, "probe.crt: unable to get", id="anothers-client"),
        pytest.param(no_authority, "unable to get local issuer", id="no-authority"),
    ],
)
def test_a_supervisor_that_vllm_would_refuse_is_told_before_anything_starts(
    authority: Authority, made: Callable[[Authority], ApiTls], words: str
) -> None:
    with pytest.raises(MultinodeError, match=words) as refused:
        check_tls(made(authority))
    assert (refused.value.code, refused.value.where) == (ExitCode.ARGUMENTS, "--ssl-cert-reqs")
    assert env.CLIENT_CERTIFICATE_FILE in refused.value.hint


@pytest.mark.parametrize(
    ("usages", "client"),
    [
        pytest.param((), False, id="good-for-anything"),
        pytest.param((SERVER, CLIENT), False, id="good-for-both"),
        pytest.param((SERVER,), True, id="for-servers-alone-and-another-for-the-supervisor"),
    ],
)
def test_a_supervisor_that_vllm_would_take(
    authority: Authority, usages: tuple[object, ...], client: bool
) -> None:
    own = authority.issue("llm", *usages)  # type: ignore[arg-type]
    check_tls(mutual(own, authority, authority.issue("probe", CLIENT) if client else None))


def missing(authority: Authority) -> Certificate:
    return Certificate("/nowhere/tls.crt", authority.issue("llm").key)


def anothers_key(authority: Authority) -> Certificate:
    return Certificate(authority.issue("llm").file, authority.issue("other").key)


def no_pem(authority: Authority) -> Certificate:
    file = authority.file.parent / "empty"
    file.write_text("")
    return Certificate(str(file), authority.issue("llm").key)


def no_key(authority: Authority) -> Certificate:
    return Certificate(authority.issue("llm").file)


def encrypted(authority: Authority) -> Certificate:
    return authority.issue("llm", password="s3cret")


@pytest.mark.parametrize(
    ("made", "words"),
    [
        pytest.param(missing, "No such file", id="missing"),
        pytest.param(anothers_key, "key values mismatch", id="anothers-key"),
        pytest.param(no_pem, "cannot be read: ", id="no-pem"),
        pytest.param(no_key, "cannot be read: ", id="no-key"),
        pytest.param(encrypted, "the key is encrypted", id="encrypted"),
    ],
)
def test_files_that_make_no_server(
    authority: Authority, made: Callable[[Authority], Certificate], words: str
) -> None:
    found = api_tls(arguments(made(authority)), None)
    assert found is not None
    with pytest.raises(MultinodeError, match=words) as refused:
        check_tls(found)
    assert (refused.value.code, refused.value.where) == (ExitCode.ARGUMENTS, "--ssl-certfile")


def test_a_key_in_the_certificates_file(authority: Authority) -> None:
    check_tls(mutual(authority.issue("llm", one_file=True), authority))


@pytest.mark.parametrize(
    ("more", "where"),
    [
        pytest.param(("--ssl-ca-certs", "/nowhere"), "--ssl-ca-certs", id="authorities"),
        pytest.param(("--ssl-cert-reqs", "3"), "--ssl-cert-reqs", id="demand"),
        pytest.param(("--ssl-cert-reqs", "yes"), "--ssl-cert-reqs", id="demand-in-words"),
        pytest.param(("--ssl-ciphers", "NONE-SUCH"), "--ssl-ciphers", id="ciphers"),
    ],
)
def test_options_that_make_no_server(authority: Authority, more: tuple[str, ...], where: str) -> None:
    with pytest.raises(MultinodeError) as refused:
        checked(arguments(authority.issue("llm"), *more))
    assert (refused.value.code, refused.value.where) == (ExitCode.ARGUMENTS, where)


def checked(written: list[str]) -> None:
    found = api_tls(written, None)
    assert found is not None
    check_tls(found)


def test_a_key_without_a_certificate_is_refused() -> None:
    with pytest.raises(MultinodeError, match="no certificate") as refused:
        api_tls(["--ssl-keyfile", "/key"], None)
    assert refused.value.where == "--ssl-keyfile"


def test_a_client_key_without_a_certificate_is_refused() -> None:
    environment = {
        env.TENSOR_PARALLEL_SIZE: "1",
        env.PIPELINE_PARALLEL_SIZE: "2",
        env.CLIENT_KEY_FILE: "/key",
    }
    with pytest.raises(MultinodeError, match=env.CLIENT_CERTIFICATE_FILE) as refused:
        supervisors_tls(read_settings("head", environment, (), "pod"))
    assert refused.value.where == env.CLIENT_KEY_FILE


class TestRequests:
    @pytest.fixture
    async def server(self, authority: Authority) -> AsyncIterator[TestServer]:
        """Wants a certificate, as uvicorn does with `--ssl-cert-reqs 2`."""
        own = authority.issue("llm", SERVER)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(own.file, own.key)
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(str(authority.file))
        app = web.Application()
        app.router.add_get("/health", _answered)
        found = TestServer(app, scheme="https")
        await found.start_server(ssl=context)
        yield found
        await found.close()

    async def test_a_server_that_asks_for_a_certificate_gets_one(
        self, server: TestServer, authority: Authority
    ) -> None:
        own, client = Certificate(str(authority.file.parent / "llm.crt")), authority.issue("probe", CLIENT)
        tls = ApiTls(own, None, ssl.CERT_REQUIRED, None, client)
        async with EngineApi(server.port or 0, tls=tls, api_key=None, model=None) as api:
            assert await api.healthy() is True

    async def test_one_that_was_replaced_is_read_again(
        self, server: TestServer, authority: Authority
    ) -> None:
        client = authority.issue("probe", CLIENT, days=-1)
        tls = ApiTls(client, None, ssl.CERT_REQUIRED, None, client)
        async with EngineApi(server.port or 0, tls=tls, api_key=None, model=None) as api:
            assert await api.healthy() is None
            authority.issue("probe", CLIENT)
            # This one still goes with the certificate that was read before.
            assert [await api.healthy(), await api.healthy()][-1] is True


async def _answered(_: web.Request) -> web.Response:
    return web.Response()
