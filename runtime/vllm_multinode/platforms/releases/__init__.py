"""Releases of KServe and OpenShift AI: one record each, and the way from a name to it."""

from vllm_multinode.platforms.releases.lookup import (
    DEFAULT,
    MULTI_NODE,
    MULTI_NODE_KSERVE,
    RELEASES,
    alternative,
    find,
    known_numbers,
    listed,
    require_multi_node,
)
from vllm_multinode.platforms.releases.release import Product, Release

__all__ = [
    "DEFAULT",
    "MULTI_NODE",
    "MULTI_NODE_KSERVE",
    "RELEASES",
    "Product",
    "Release",
    "alternative",
    "find",
    "known_numbers",
    "listed",
    "require_multi_node",
]
