"""Words that KServe, the launcher and everything that writes manifests share."""

from typing import Final, Literal

Role = Literal["head", "worker"]

MODEL_MOUNT: Final = "/mnt/models"
CLAIM_SCHEME: Final = "pvc://"
"""Of a storageUri that names a claim."""


def claim_uri(claim: str, path: str) -> str:
    """The storageUri of a folder of a claim."""
    return f"{CLAIM_SCHEME}{claim}/{path}" if path else f"{CLAIM_SCHEME}{claim}"


def claim_and_path(uri: str) -> tuple[str, str]:
    """Claim and subPath of `pvc://claim/path`; everything behind the first slash is path."""
    claim, _, path = uri.removeprefix(CLAIM_SCHEME).partition("/")
    return claim, path
