"""What Kueue reads on objects and pods.

Source: kubernetes-sigs/kueue, pkg/controller/jobs (deployment, pod, leaderworkerset) and
pkg/controller/jobs/pod/constants. Its Deployment webhook hands the queue on to the pods and leaves each pod
a workload of its own, unless the pods say which group they belong to; a LeaderWorkerSet with the queue
becomes one workload a group by itself.
"""

from typing import Final

PREFIX: Final = "kueue.x-k8s.io/"
QUEUE: Final = f"{PREFIX}queue-name"
"""Label: the LocalQueue."""
GROUP: Final = f"{PREFIX}pod-group-name"
"""Label: pods that are admitted together."""
GROUP_SIZE: Final = f"{PREFIX}pod-group-total-count"
"""Annotation: how many pods Kueue waits for."""
SERVING: Final = f"{PREFIX}pod-group-serving"
"""Annotation: a group that does not end by itself, and whose lost pods are replaced."""
