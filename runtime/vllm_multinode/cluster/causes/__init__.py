"""Every reason why a service does not serve, or serves badly, that is recognised: one record each.

`wait` and `doctor` name them; docs/causes.md lists them. What recognises one stands in `diagnosis`,
`pod_states`, `group_states` and `engine_states`.
"""

from typing import Final

from vllm_multinode.cluster.causes.cause import Area, Cause, Effect
from vllm_multinode.cluster.causes.groups import ENGINES, GROUPS
from vllm_multinode.cluster.causes.nodes import BY_EXIT_CODE, CONTAINERS
from vllm_multinode.cluster.causes.objects import OBJECTS, PODS

__all__ = ["BY_EXIT_CODE", "CAUSES", "Area", "Cause", "Effect"]

CAUSES: Final = {
    cause.id: cause for cause in (*OBJECTS, *PODS, *CONTAINERS, *BY_EXIT_CODE.values(), *GROUPS, *ENGINES)
}
"""By id, in the order in which they are looked for."""
