"""The stand-in for the Kubernetes API, as the tests of the cluster have it."""

from unit.cluster.conftest import api, cluster, kubeconfig

__all__ = ["api", "cluster", "kubeconfig"]
