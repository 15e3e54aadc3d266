"""s3://bucket/prefix: objects of AWS, MinIO, Ceph or another store (AWS_ENDPOINT_URL), read by boto3.

boto3 is in vLLM's image for CUDA, where it comes with the Run:ai streamer; where an image lacks it, it is the
extra [s3]. Credentials are what boto3 finds: AWS_ACCESS_KEY_ID, a shared file, a pod's identity.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from vllm_multinode.contract import env
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.contract.numbers import is_count
from vllm_multinode.contract.text import shown
from vllm_multinode.storage.sources.bounded import paced, whole, within
from vllm_multinode.storage.sources.digests import Digest
from vllm_multinode.storage.sources.source import (
    MOST_ITEMS,
    Item,
    Listing,
    PassingError,
    no_address,
    version_of,
)
from vllm_multinode.storage.sources.web import CHUNK, host_of

_SESSION: Final = "AWS_SESSION_TOKEN"
_DENIED: Final = frozenset(
    {
        "401",
        "403",
        "AccessDenied",
        "ExpiredToken",
        "InvalidAccessKeyId",
        "InvalidToken",
        "SignatureDoesNotMatch",
    }
)
_MISSING: Final = frozenset({"404", "NoSuchBucket", "NoSuchKey"})
_CHANGED: Final = frozenset({"412", "PreconditionFailed"})
_MOST_PAGES: Final = 2000
_MOST_ANSWER: Final = 32 << 20
_ANSWER: Final = 90.0
"""Seconds until an answer's headers are whole; boto3's own time-outs begin again with every byte."""
_MD5: Final = re.compile(r"[0-9a-f]{32}")
_KEYS: Final = "Give AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a pod identity with read access."


@dataclass
class Bucket:
    """The objects below a prefix."""

    bucket: str
    prefix: str
    endpoint: str
    _client: Any

    @classmethod
    def parse(cls, rest: str, environment: Mapping[str, str]) -> "Bucket":
        """Read what stands behind s3://.

        Raises:
            MultinodeError: IMAGE, where boto3 is not installed.
        """
        bucket, _, prefix = rest.partition("/")
        endpoint = next((environment[name] for name in env.S3_ENDPOINTS if environment.get(name)), "")
        if endpoint and "://" not in endpoint:
            endpoint = f"https://{endpoint}"
        return cls(bucket, prefix.strip("/"), endpoint, _client(endpoint, environment))

    @property
    def name(self) -> str:
        """As it was asked for."""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    def listing(self) -> Listing:
        """List the objects; their ETags make up the revision."""
        start = f"{self.prefix}/" if self.prefix else ""
        items = []
        with self._asking(self.name):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=start)
            for number, page in enumerate(pages):
                items += [_item(entry, start) for entry in page.get("Contents", ()) if _is_file(entry)]
                if number >= _MOST_PAGES or len(items) > MOST_ITEMS:
                    raise self._too_many(len(items))
        if not items:
            what = "there is no object below this prefix."
            raise MultinodeError(ExitCode.MODEL_MISSING, what, where=self.name, hint="Check the prefix.")
        return Listing(version_of(items), tuple(items))

    def read(self, item: Item, offset: int) -> tuple[int, Iterator[bytes]]:
        """Read an object, as long as it is the one that was listed."""
        wanted = {"Range": f"bytes={offset}-"} if offset else {}
        with self._asking(item.name):
            answer = self._client.get_object(
                Bucket=self.bucket, Key=self._key(item), IfMatch=f'"{item.version}"', **wanted
            )
        begin = offset if "ContentRange" in answer else 0
        if answer.get("ContentLength") not in (None, item.size - begin):
            answer["Body"].close()
            raise PassingError(f"{self._host} answers with something else than the object")
        return begin, paced(self._chunks(item, answer["Body"]), self._host)

    def digest(self, item: Item) -> Digest | None:
        """MD5, which the ETag is unless the object is encrypted with a key of KMS or of the customer's.

        Of an object that was uploaded in parts the size of the first part tells that of all.
        """
        try:
            with self._asking(item.name):
                about = self._client.head_object(Bucket=self.bucket, Key=self._key(item), PartNumber=1)
        except (MultinodeError, PassingError):
            # Not every store knows parts; what is wrong besides shows when the object is read.
            return None
        if about.get("ServerSideEncryption", "AES256") != "AES256" or "SSECustomerAlgorithm" in about:
            return None
        value, _, count = item.version.partition("-")
        if not _MD5.fullmatch(value):
            return None
        if not count:
            return Digest("md5", value)
        part = int(about["ContentLength"])
        known = part > 0 and is_count(count) and -(-item.size // part) == int(count)
        return Digest("md5-parts", value, part) if known else None

    @property
    def _host(self) -> str:
        return host_of(self.endpoint) if self.endpoint else "S3"

    def _too_many(self, count: int) -> MultinodeError:
        what = f"there are more than {count} objects below this prefix, or a list of them without an end."
        hint = "Give the prefix of a single model."
        return MultinodeError(ExitCode.SOURCE_UNREACHABLE, what, where=self.name, hint=hint)

    def _key(self, item: Item) -> str:
        return f"{self.prefix}/{item.name}" if self.prefix else item.name

    def _chunks(self, item: Item, body: Any) -> Iterator[bytes]:
        with closing(body), self._asking(item.name):
            yield from body.iter_chunks(CHUNK)

    @contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        """Turn what boto3 raises into a refusal or into something that passes."""
        from botocore import exceptions
        from botocore.parsers import ResponseParserError

        host = self._host
        try:
            yield
        except exceptions.ClientError as error:
            raise self._refusal(
                what, host, shown(str(error.response.get("Error", {}).get("Code", "")), 80), error
            ) from error
        except (
            exceptions.NoCredentialsError,
            exceptions.PartialCredentialsError,
            exceptions.CredentialRetrievalError,
        ) as error:
            said = "there are no credentials, or they are incomplete."
            raise MultinodeError(ExitCode.SOURCE_DENIED, said, where=self.name, hint=_KEYS) from error
        except exceptions.ParamValidationError as error:
            raise no_address(self.name) from error
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
            said = f"{host} does not respond like an object store."
            hint = "Check AWS_ENDPOINT_URL, and that no proxy answers in its place."
            raise MultinodeError(ExitCode.SOURCE_UNREACHABLE, said, where=self.name, hint=hint) from error
        except (exceptions.BotoCoreError, exceptions.HTTPClientError, ResponseParserError) as error:
            raise PassingError(f"{host} does not answer, or broke off: {type(error).__name__}") from error

    def _refusal(self, what: str, host: str, code: str, error: Exception) -> Exception:
        if code in _DENIED:
            said = f"{host} denies access ({code})."
            return MultinodeError(ExitCode.SOURCE_DENIED, said, where=self.name, hint=_KEYS)
        if code in _MISSING:
            said = f"{host} has no such thing ({code})."
            hint = "Check the bucket, the prefix and AWS_ENDPOINT_URL."
            return MultinodeError(ExitCode.MODEL_MISSING, said, where=self.name, hint=hint)
        if code in _CHANGED:
            said = "was changed at the source while it was fetched."
            return MultinodeError(ExitCode.SHARD_TRUNCATED, said, where=what, hint="Run it again.")
        return PassingError(f"{host} answers {code or type(error).__name__}")


def _is_file(entry: Mapping[str, Any]) -> bool:
    """What ends in a slash is a folder that a console made."""
    return not str(entry["Key"]).endswith("/")


def _item(entry: Mapping[str, Any], start: str) -> Item:
    tag = str(entry["ETag"]).strip('"')
    return Item(str(entry["Key"]).removeprefix(start), int(entry["Size"]), None, tag)


def _client(endpoint: str, environment: Mapping[str, str]) -> Any:
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ImportError as error:
        what = "reading from S3 needs boto3, which is not installed here."
        hint = "Use the image for CUDA, or install vllm-multinode[s3]."
        raise MultinodeError(ExitCode.IMAGE, what, where="s3://", hint=hint) from error
    # What breaks while bytes come is taken up by the transfer, at the byte where it broke.
    config = Config(connect_timeout=15, read_timeout=30, retries={"mode": "standard", "max_attempts": 3})
    try:
        session = boto3.session.Session(**_given(environment))
        client = session.client("s3", endpoint_url=endpoint or None, config=config)
    except (BotoCoreError, ValueError) as error:
        what = f"boto3 rejects its settings: {type(error).__name__}."
        hint = "Check AWS_ENDPOINT_URL, AWS_PROFILE and the region."
        raise MultinodeError(ExitCode.VARIABLE, what, where="AWS_*", hint=hint) from error
    # There is no public way to send otherwise.
    sender = client._endpoint.http_session  # noqa: SLF001
    sender.send = partial(_send, sender.send, host_of(endpoint) if endpoint else "S3")
    return client


def _send(send: Callable[[Any], Any], host: str, request: Any) -> Any:
    """Send a request of boto3, with bounds on the answer: it reads a list whole, however long that is."""
    from botocore.awsrequest import AWSResponse

    is_streamed, request.stream_output = request.stream_output, True
    answer = within(_ANSWER, partial(send, request), f"the answer of {host}")
    if is_streamed:
        return answer
    content = whole(paced(answer.raw.stream(CHUNK, decode_content=True), host), _MOST_ANSWER)
    if content is None:
        raise PassingError(f"{host} answers with more than {_MOST_ANSWER >> 20} MiB")
    return AWSResponse(answer.url, answer.status_code, answer.headers, _Read(content))


class _Read:
    """A body that has been read, as botocore takes it."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self, **_: Any) -> Iterator[bytes]:
        """The whole of it."""
        yield self._content


def _given(environment: Mapping[str, str]) -> dict[str, str]:
    """Keys and region of the environment, as boto3 takes them.

    One key without the other is an error of its own, which boto3 tells when something is asked.
    """
    found = {}
    if all(environment.get(name) for name in env.S3_KEYS):
        found = {
            name.lower(): environment[name] for name in (*env.S3_KEYS, _SESSION) if environment.get(name)
        }
    region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION")
    return {**found, "region_name": region} if region else found
