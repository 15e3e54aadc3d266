"""What secrets look like, whatever name they stand under: tokens by their shape, the user of a URL, keys."""

import re
from typing import Final

TOKEN: Final = re.compile(
    r"\bhf_[A-Za-z0-9]{16,}\b"
    r"|\bsk-[A-Za-z0-9_-]{16,}"
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"
    r"|\bgh[pousr]_[A-Za-z0-9]{16,}"
    r"|\bgithub_pat_[A-Za-z0-9_]{20,}"
    r"|\bglpat-[A-Za-z0-9_-]{16,}"
    r"|\bsha256~[\w-]{20,}"
    r"|\beyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?"
)
"""Of the Hugging Face Hub, OpenAI's kind, AWS, GitHub, GitLab, OpenShift, and JSON web tokens."""
USER_INFO: Final = re.compile(r"(?<=://)[^/@\s]+(?=@)")
"""User and password of a URL."""
KEY_BLOCK: Final = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL
)
SIGNED: Final = re.compile(
    r"(?P<name>[?&](?:sig|signature|x-amz-signature|x-amz-security-token|x-goog-signature|token|access_token"
    r"|api_key)=)[^&\s\"']+",
    re.IGNORECASE,
)
"""The part of an address that lets whoever has it in."""
PRE_AUTHENTICATED: Final = re.compile(r"(?<=/p/)[A-Za-z0-9_-]{20,}(?=/)")
"""The same in a pre-authenticated request of OCI."""
