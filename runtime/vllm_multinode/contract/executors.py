"""The executors: what spreads an engine over nodes, and what is particular to each."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, get_args

from vllm_multinode.contract import env

ExecutorName = Literal["ray", "mp"]


@dataclass(frozen=True, slots=True)
class Executor:
    """One executor; who needs to know asks for a property, never for the name.

    Attributes:
        name: as MULTINODE_EXECUTOR and vLLM's --distributed-executor-backend have it.
        title: for people.
        annotation: what a ServingRuntime is annotated with, so that KServe counts nodes for it; None for
            the executor that KServe takes where nothing is said.
        head_port: the variable of the port that the engine opens first on the head.
        needs_ray: each node runs a raylet, so versions of Ray and Python must agree.
        shares_model_path: every node opens the model under the head's path.
        equal_nodes: every node holds the same number of ranks.
        node_per_stage: KServe makes one node for each pipeline stage, from v0.18 on.
    """

    name: ExecutorName
    title: str
    annotation: str | None
    head_port: str
    needs_ray: bool
    shares_model_path: bool
    equal_nodes: bool
    node_per_stage: bool

    @property
    def runtime(self) -> str:
        """The name of our ServingRuntime for it."""
        return f"vllm-multinode-{self.name}"


EXECUTORS: Final[Mapping[ExecutorName, Executor]] = {
    "ray": Executor(
        name="ray",
        title="vLLM over several nodes (Ray)",
        annotation=None,
        head_port=env.RAY_PORT,
        needs_ray=True,
        shares_model_path=True,
        equal_nodes=False,
        node_per_stage=False,
    ),
    "mp": Executor(
        name="mp",
        title="vLLM over several nodes (mp)",
        annotation="mp",
        head_port=env.MASTER_PORT,
        needs_ray=False,
        shares_model_path=False,
        equal_nodes=True,
        node_per_stage=True,
    ),
}
EXECUTOR_NAMES: Final[tuple[ExecutorName, ...]] = get_args(ExecutorName)
DEFAULT_EXECUTOR: Final[ExecutorName] = "mp"
"""vLLM's own: its released images have had no Ray since 0.18."""
KSERVE_EXECUTOR: Final[ExecutorName] = "ray"
"""What KServe counts nodes for where nothing is said."""


def counted_by_kserve(annotation: object) -> ExecutorName:
    """The executor that KServe counts nodes for: the one whose annotation stands there, exactly so."""
    for executor in EXECUTORS.values():
        if executor.annotation is not None and executor.annotation == annotation:
            return executor.name
    return KSERVE_EXECUTOR
