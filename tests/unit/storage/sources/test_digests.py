import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as some

from sources import s3
from vllm_multinode.storage.sources.digests import Digest, running


@given(some.binary(max_size=40), some.integers(1, 12), some.integers(1, 7))
def test_the_etag_of_parts_however_the_bytes_come(content: bytes, part: int, step: int) -> None:
    parts = [content[at : at + part] for at in range(0, len(content), part)]
    expected = hashlib.md5(b"".join(hashlib.md5(one).digest() for one in parts)).hexdigest()
    found = running(Digest("md5-parts", "", part), len(content))
    for at in range(0, len(content), step):
        found.update(content[at : at + step])
    assert found.hexdigest() == expected


@pytest.mark.parametrize(
    ("digest", "expected"),
    [
        # git hash-object of "hello\n"
        pytest.param(Digest("git-sha1", ""), "ce013625030ba8dba906f756967f9e9ca394464a", id="git"),
        pytest.param(Digest("md5", ""), s3.tag(b"hello\n"), id="md5"),
        pytest.param(None, "", id="none"),
    ],
)
def test_of_a_greeting(digest: Digest | None, expected: str) -> None:
    found = running(digest, 6)
    found.update(b"hello\n")
    assert found.hexdigest() == expected
