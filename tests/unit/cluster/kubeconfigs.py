"""A kubeconfig with one login, as tests give it to a command or a client."""

from pathlib import Path
from typing import Any

import yaml

TOKEN = "sha256~secret-token-of-the-test"


def write_kubeconfig(file: Path, server: str, *, namespace: str = "demo", **cluster: Any) -> Path:
    """Write one, with the login of `ada`, and return its path.

    Args:
        file: that is written.
        server: URL of the API server.
        namespace: of its context.
        cluster: further fields of its cluster.
    """
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "c", "cluster": {"server": server, **cluster}}],
        "users": [{"name": "ada", "user": {"token": TOKEN}}],
        "contexts": [{"name": "test", "context": {"cluster": "c", "user": "ada", "namespace": namespace}}],
    }
    file.write_text(yaml.safe_dump(config))
    return file
