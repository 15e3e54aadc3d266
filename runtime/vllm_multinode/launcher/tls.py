"""vLLM's API over TLS, as the supervisor of the same pod asks it.

A server that wants a certificate of its clients (`--ssl-cert-reqs 2`) wants one of the supervisor too. Unless
told otherwise the supervisor presents vLLM's own. One that is good for servers alone, as OpenShift's service
certificates are, is rejected as a client's; then a second one is needed. Preflight tries both ends against
each other in memory, because an engine that rejects its supervisor would look like one that never starts.
"""

import contextlib
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vllm_multinode.contract import env
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.launcher.arguments import last_value
from vllm_multinode.launcher.settings import Settings

_CERTIFICATE: Final = "--ssl-certfile"
_KEY: Final = "--ssl-keyfile"
_AUTHORITIES: Final = "--ssl-ca-certs"
_WANTED: Final = "--ssl-cert-reqs"
_CIPHERS: Final = "--ssl-ciphers"
_ROUNDS: Final = 6
"""More than any handshake takes."""


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key, as files.

    Attributes:
        file: the certificate, and those between it and the authority.
        key: None where `file` holds it too.
    """

    file: str
    key: str | None = None


@dataclass(frozen=True)
class ApiTls:
    """How vLLM's API speaks TLS.

    Attributes:
        own: what the server presents.
        authorities: file of those who sign clients' certificates.
        wanted: whether clients have to present one.
        ciphers: of TLS 1.2 and before, as OpenSSL writes them.
        client: what the supervisor presents.
    """

    own: Certificate
    authorities: str | None
    wanted: ssl.VerifyMode
    ciphers: str | None
    client: Certificate

    def client_context(self) -> ssl.SSLContext:
        """For the supervisor's requests; reads the files again, which may have been replaced.

        Whom the server's certificate is for is not asked: it is for clients' names, and this is our child.

        Raises:
            MultinodeError: the certificate or its key cannot be read.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        _load(context, self.client, _CERTIFICATE if self.client == self.own else env.CLIENT_CERTIFICATE_FILE)
        return context

    def stamps(self) -> tuple[int, ...]:
        """When the supervisor's files were written, in nanoseconds: others mean a new certificate."""
        found = []
        for file in filter(None, (self.client.file, self.client.key)):
            with contextlib.suppress(OSError):
                found.append(Path(file).stat().st_mtime_ns)
        return tuple(found)


def supervisors_tls(settings: Settings) -> ApiTls | None:
    """How this head's supervisor asks its vLLM; None for plain HTTP.

    Raises:
        MultinodeError: see `api_tls`; VARIABLE for a key without a certificate.
    """
    file, key = settings.client_certificate_file, settings.client_key_file
    if file is None and key is not None:
        raise MultinodeError(
            ExitCode.VARIABLE, f"is set and {env.CLIENT_CERTIFICATE_FILE} is not.", where=env.CLIENT_KEY_FILE
        )
    client = Certificate(str(file), None if key is None else str(key)) if file is not None else None
    return api_tls(settings.arguments, client)


def api_tls(arguments: Sequence[str], client: Certificate | None) -> ApiTls | None:
    """What vLLM's arguments say of TLS; None where its API speaks plain HTTP.

    Args:
        arguments: vLLM's.
        client: what the supervisor presents; None for the server's own.

    Raises:
        MultinodeError: a key without a certificate, or a demand on clients that vLLM does not know.
    """
    file, key = last_value(arguments, _CERTIFICATE), last_value(arguments, _KEY)
    if file is None:
        if key is not None:
            raise _refused(_KEY, "there is a key and no certificate.", f"Give {_CERTIFICATE} too.")
        return None
    own = Certificate(file, key)
    wanted = last_value(arguments, _WANTED) or "0"
    try:
        verify = ssl.VerifyMode(int(wanted))
    except ValueError as error:
        what = f"'{wanted}' is not 0 (none), 1 (optional) or 2 (required)."
        raise _refused(_WANTED, what, "2 asks every client for a certificate.") from error
    return ApiTls(
        own=own,
        authorities=last_value(arguments, _AUTHORITIES),
        wanted=verify,
        ciphers=last_value(arguments, _CIPHERS),
        client=client or own,
    )


def check_tls(tls: ApiTls) -> None:
    """Let the two ends of a connection shake hands in memory.

    Raises:
        MultinodeError: ARGUMENTS; a file that cannot be read, or a supervisor that the server would reject.
    """
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = _server_context(tls).wrap_bio(to_server, to_client, server_side=True)
    client = tls.client_context().wrap_bio(to_client, to_server)
    try:
        for _ in range(_ROUNDS):
            for end in (client, server):
                try:
                    end.do_handshake()
                except ssl.SSLWantReadError:
                    continue
    except ssl.SSLCertVerificationError as error:
        raise _unknown_client(tls, error.verify_message) from error
    except ssl.SSLError as error:
        raise _refused(_CERTIFICATE, f"no client can connect: {_words(error)}.", "Check --ssl-*.") from error


def _server_context(tls: ApiTls) -> ssl.SSLContext:
    """As uvicorn makes it for vLLM."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _load(context, tls.own, _CERTIFICATE)
    context.verify_mode = tls.wanted
    if tls.authorities is not None:
        try:
            context.load_verify_locations(tls.authorities)
        except OSError as error:
            what = f"{tls.authorities} cannot be read: {_words(error)}."
            raise _refused(_AUTHORITIES, what, "Mount the authorities that sign clients there.") from error
    if tls.ciphers:
        try:
            context.set_ciphers(tls.ciphers)
        except ssl.SSLError as error:
            what = f"'{tls.ciphers}' names no cipher that OpenSSL has."
            raise _refused(_CIPHERS, what, "`openssl ciphers` lists them.") from error
    return context


def _load(context: ssl.SSLContext, certificate: Certificate, where: str) -> None:
    def no_password() -> str:
        raise _refused(where, "the key is encrypted, and vLLM has no password for it.", "Decrypt it.")

    try:
        context.load_cert_chain(certificate.file, certificate.key, no_password)
    except OSError as error:
        files = certificate.file if certificate.key is None else f"{certificate.file}, {certificate.key}"
        what = f"certificate and key cannot be read: {_words(error)} ({files})."
        raise _refused(where, what, "Mount the Secret that holds them, and name both files.") from error


def _words(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "not in PEM").lower().replace("_", " ")
    return error.strerror or str(error)


def _unknown_client(tls: ApiTls, why: str) -> MultinodeError:
    whose = "vLLM's own certificate" if tls.client == tls.own else tls.client.file
    return _refused(
        _WANTED,
        f"vLLM would reject its own supervisor, which presents {whose}: {why}.",
        f"Give the supervisor a client's certificate that {_AUTHORITIES} has signed: "
        f"{env.CLIENT_CERTIFICATE_FILE} and {env.CLIENT_KEY_FILE}.",
    )


def _refused(where: str, what: str, hint: str) -> MultinodeError:
    return MultinodeError(ExitCode.ARGUMENTS, what, where=where, hint=hint)
