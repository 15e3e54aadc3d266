"""The stand-in API of the cluster's tests, for what looks at services of it."""

from unit.cluster.conftest import api, cluster, kubeconfig

__all__ = ["api", "cluster", "kubeconfig"]
