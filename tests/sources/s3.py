"""Plays S3: ListObjectsV2, HeadObject and GetObject with ranges and If-Match, for one bucket."""

import hashlib
from collections.abc import Mapping
from urllib.parse import parse_qs, quote
from xml.sax.saxutils import escape

from sources.servers import Answer, Asked, Server

KEY, SECRET = "AKIAEXAMPLE", "anS3SecretThatNobodyMaySee"
BUCKET = "models"
PART = 1_000_000


def tag(content: bytes) -> str:
    """The ETag: of a large object as it is after an upload in parts."""
    if len(content) <= PART:
        return hashlib.md5(content).hexdigest()
    parts = [hashlib.md5(content[at : at + PART]).digest() for at in range(0, len(content), PART)]
    return f"{hashlib.md5(b''.join(parts)).hexdigest()}-{len(parts)}"


def s3(objects: Mapping[str, bytes], *, encrypted: bool = False) -> Server:
    """A store with one bucket; `encrypted` objects have ETags that are no MD5."""

    def etag(content: bytes) -> str:
        return tag(content[::-1] if encrypted else content)

    def handle(asked: Asked) -> Answer:
        if KEY not in asked.headers.get("authorization", ""):
            return _error(403, "AccessDenied")
        bucket, _, key = asked.path.removeprefix("/").partition("/")
        if bucket != BUCKET:
            return _error(404, "NoSuchBucket")
        query = parse_qs(asked.query)
        if "list-type" in query:
            return _listing(objects, query.get("prefix", [""])[0], etag)
        if key not in objects:
            return _error(404, "NoSuchKey")
        content = objects[key]
        headers = {"ETag": f'"{etag(content)}"', "Accept-Ranges": "bytes"}
        if encrypted:
            headers["x-amz-server-side-encryption"] = "aws:kms"
        if asked.method == "HEAD":
            size = min(PART, len(content)) if "partNumber" in query else len(content)
            return Answer(206, {**headers, "Content-Length": str(size)})
        if asked.headers.get("if-match", headers["ETag"]) != headers["ETag"]:
            return _error(412, "PreconditionFailed")
        return Answer(headers=headers, body=content, file=True)

    return Server(handle)


def _listing(objects: Mapping[str, bytes], prefix: str, etag: object) -> Answer:
    assert callable(etag)
    found = "".join(
        f"<Contents><Key>{escape(key)}</Key><Size>{len(content)}</Size>"
        f"<ETag>&quot;{etag(content)}&quot;</ETag></Contents>"
        for key, content in objects.items()
        if key.startswith(prefix)
    )
    body = (
        f'<?xml version="1.0"?><ListBucketResult><Name>{BUCKET}</Name><Prefix>{quote(prefix)}</Prefix>'
        f"<IsTruncated>false</IsTruncated>{found}</ListBucketResult>"
    )
    return Answer(headers={"Content-Type": "application/xml"}, body=body.encode())


def _error(status: int, code: str) -> Answer:
    body = f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()
    return Answer(status, {"Content-Type": "application/xml"}, body)
