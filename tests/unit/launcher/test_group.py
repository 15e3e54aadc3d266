from typing import Any

import pytest

from unit.launcher.pods import VERSIONS, identity
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.executors import ExecutorName
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.launcher.group import FullError, Group, ShortError
from vllm_multinode.launcher.settings import GroupName, Sizes

NAME = GroupName(namespace="ns", service="llm", generation="3")


def group(
    nodes: int = 3, executor: ExecutorName = "ray", name: GroupName = NAME, tensor_parallel: int = 1
) -> Group:
    sizes = Sizes(tensor_parallel=tensor_parallel, pipeline_parallel=nodes, nodes=nodes)
    return Group(head=identity(gpus=tensor_parallel), sizes=sizes, executor=executor, told=name)


def test_ranks_stay_with_members_and_the_lowest_free_one_is_given_again() -> None:
    found = group(nodes=4)
    ranks = {pod: found.admit(identity(pod), NAME, now=0).rank for pod in ("c", "a", "b")}
    assert ranks == {"c": 1, "a": 2, "b": 3}
    found.remove("a")
    found.remove("c")
    assert found.admit(identity("d"), NAME, now=1).rank == 1
    assert found.admit(identity("e"), NAME, now=1).rank == 2
    assert found.members["b"].rank == 3
    assert list(found.gpus) == ["head", "d", "e", "b"]


def test_of_many_that_are_missing_the_first_are_named_and_the_rest_counted() -> None:
    found = group(nodes=40)
    found.admit(identity("a"), NAME, now=0)
    assert found.missing.startswith("rank 2, rank 3, ")
    assert found.missing.endswith("rank 17 and 22 more")


def test_what_a_group_has_learnt_of_its_name_goes_with_who_said_it() -> None:
    found = group(nodes=3, name=GroupName(service="llm"))
    found.admit(identity("a"), NAME, now=0)
    seen = [found.name]
    found.remove("a")
    seen.append(found.name)
    other = GroupName(service="llm", generation="4")
    found.admit(identity("b"), other, now=0)
    assert [*seen, found.name] == [NAME, GroupName(service="llm"), other]


def test_a_group_is_complete_with_every_place_taken() -> None:
    found = group(nodes=2)
    seen = [found.complete]
    found.admit(identity("a"), NAME, now=0)
    seen.append(found.complete)
    found.remove("a")
    seen.append(found.complete)
    assert seen == [False, True, False]
    assert group(nodes=1).complete


def test_a_group_is_not_complete_with_a_member_that_is_about_to_go() -> None:
    found = group(nodes=2)
    found.admit(identity("a"), NAME, now=0).leaving = True
    assert not found.complete


def test_a_group_that_is_full_may_have_room_later() -> None:
    found = group(nodes=3)
    found.admit(identity("a"), NAME, now=0)
    found.admit(identity("b"), NAME, now=0)
    with pytest.raises(FullError, match="all 3 places are taken"):
        found.admit(identity("c"), NAME, now=0)


@pytest.mark.parametrize(
    ("instances", "taken"),
    [
        pytest.param(("1", "2"), True, id="another-process"),
        pytest.param(("", ""), True, id="no-instance"),
        pytest.param(("1", ""), True, id="the-newcomer-says-none"),
        pytest.param(("1", "1"), False, id="the-same-process"),
    ],
)
def test_a_living_members_name_is_not_enough_to_take_its_place(
    instances: tuple[str, str], *, taken: bool
) -> None:
    found = group(nodes=3)
    former = found.admit(identity("a", instance=instances[0]), NAME, now=0)
    if taken:
        with pytest.raises(FullError, match=r"a is a member already, from 10\.0\.0\.1, and is alive"):
            found.admit(identity("a", instance=instances[1]), NAME, now=1)
        assert found.members["a"] is former
    else:
        assert found.admit(identity("a", instance=instances[1]), NAME, now=1).rank == former.rank


def test_whoever_is_refused_leaves_the_member_of_that_name_alone() -> None:
    found = group(nodes=3)
    former = found.admit(identity("a", instance="1"), NAME, now=0)
    with pytest.raises(MultinodeError, match="model"):
        found.admit(identity("a", instance="1", fingerprint="0"), NAME, now=1)
    assert found.members["a"] is former


def test_a_worker_that_bears_its_heads_name_is_refused() -> None:
    with pytest.raises(MultinodeError, match="calls itself head, as its head does"):
        group().admit(identity("head"), NAME, now=0)


def test_the_place_of_a_member_that_leaves_is_free_and_so_is_its_rank() -> None:
    found = group(nodes=3)
    found.admit(identity("a"), NAME, now=0).leaving = True
    found.admit(identity("b"), NAME, now=0)
    assert found.admit(identity("c"), NAME, now=0).rank == 2
    assert found.complete
    assert list(found.gpus) == ["head", "b", "c"]


def test_sizes_that_differ_from_the_heads_are_refused() -> None:
    told = Sizes(tensor_parallel=1, pipeline_parallel=2, nodes=2)
    with pytest.raises(
        MultinodeError, match="worker a was told TP 1, PP 2 on 2 nodes, and its head"
    ) as refused:
        group(nodes=3).admit(identity("a"), NAME, now=0, sizes=told)
    assert refused.value.code is ExitCode.SIZES


def test_mp_refuses_another_number_of_accelerators_at_once() -> None:
    found = group(nodes=3, executor="mp", tensor_parallel=2)
    with pytest.raises(MultinodeError, match="head head has 2 accelerators and worker a has 1"):
        found.admit(identity("a", gpus=1), NAME, now=0)
    assert not found.members


@pytest.mark.parametrize(
    ("present", "newcomer", "fewest"),
    [
        pytest.param(2, 1, "b", id="the-newcomer"),
        pytest.param(1, 2, "a", id="who-came-before"),
        pytest.param(1, 1, "b", id="both"),
    ],
)
def test_too_few_accelerators_under_ray_name_the_member_with_the_fewest(
    present: int, newcomer: int, fewest: str
) -> None:
    found = group(nodes=3, tensor_parallel=2)
    found.admit(identity("a", gpus=present), NAME, now=0)
    with pytest.raises(ShortError, match="the group holds") as refused:
        found.admit(identity("b", gpus=newcomer), NAME, now=0)
    assert refused.value.fewest == fewest
    assert list(found.members) == ["a"]


def test_unequal_nodes_that_hold_enough_together_are_welcome_under_ray() -> None:
    found = group(nodes=3, tensor_parallel=2)
    found.admit(identity("a", gpus=1), NAME, now=0)
    assert found.admit(identity("b", gpus=3), NAME, now=0).rank == 2


def test_a_new_member_has_nothing_of_the_present_epoch_to_stop() -> None:
    found = group()
    assert (found.next_epoch(), found.next_epoch()) == (1, 2)
    assert found.admit(identity("a"), NAME, now=0).stopped_epoch == 2


@pytest.mark.parametrize(
    ("executor", "changes", "code", "words"),
    [
        pytest.param(
            "mp",
            {"versions": VERSIONS.model_copy(update={"vllm": "0.31.0"})},
            ExitCode.VERSIONS_DIFFER,
            "vLLM: head head has 0.32.0, worker w has 0.31.0.",
            id="vllm",
        ),
        pytest.param(
            "mp",
            {"versions": VERSIONS.model_copy(update={"multinode": "0.2.0"})},
            ExitCode.VERSIONS_DIFFER,
            "vllm-multinode: head head has 0.1.0, worker w has 0.2.0.",
            id="this-package",
        ),
        pytest.param(
            "ray",
            {"versions": VERSIONS.model_copy(update={"ray": None})},
            ExitCode.VERSIONS_DIFFER,
            "Ray: head head has 2.60.0, worker w has none.",
            id="ray-is-missing",
        ),
        pytest.param(
            "ray",
            {"versions": VERSIONS.model_copy(update={"python": "3.12.4"})},
            ExitCode.VERSIONS_DIFFER,
            "Python: head head has 3.12.3, worker w has 3.12.4.",
            id="pythons-patch-level-under-ray",
        ),
        pytest.param(
            "mp",
            {"accelerator": "rocm"},
            ExitCode.ACCELERATORS_DIFFER,
            "accelerators: head head has cuda, worker w has rocm.",
            id="accelerator",
        ),
        pytest.param(
            "mp",
            {"fingerprint": "0" * 64},
            ExitCode.MODELS_DIFFER,
            "head head has /mnt/models (ffffffffffff), worker w has /mnt/models (000000000000)",
            id="model",
        ),
        pytest.param(
            "ray",
            {"model_dir": "/models"},
            ExitCode.MODELS_DIFFER,
            "model path: head head has /mnt/models, worker w has /models.",
            id="the-models-path-under-ray",
        ),
    ],
)
def test_a_worker_that_differs_is_refused_by_name(
    executor: ExecutorName, changes: dict[str, Any], code: ExitCode, words: str
) -> None:
    found = group(executor=executor)
    with pytest.raises(MultinodeError) as refused:
        found.admit(identity("w", **changes), NAME, now=0)
    assert refused.value.code is code
    assert words in refused.value.what
    assert refused.value.hint
    assert not found.members


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"versions": VERSIONS.model_copy(update={"ray": None, "python": "3.11.9"})}, id="ray"),
        pytest.param({"model_dir": "/models"}, id="path-of-the-same-model"),
    ],
)
def test_mp_does_not_mind(changes: dict[str, Any]) -> None:
    assert group(executor="mp").admit(identity("w", **changes), NAME, now=0).rank == 1


@pytest.mark.parametrize(
    ("part", "value"),
    [
        pytest.param("generation", "4", id="generation"),
        pytest.param("service", "other", id="service"),
        pytest.param("namespace", "elsewhere", id="namespace"),
    ],
)
def test_another_group_is_refused_by_name(part: str, value: str) -> None:
    with pytest.raises(MultinodeError) as refused:
        group().admit(identity("w"), NAME.model_copy(update={part: value}), now=0)
    assert refused.value.code is ExitCode.GROUP
    assert f"worker w belongs to {part} {value}, not {getattr(NAME, part)}" in refused.value.what


def test_a_head_that_was_told_no_generation_learns_it_from_its_first_worker() -> None:
    found = group(name=GroupName(service="llm"))
    found.admit(identity("a"), NAME, now=0)
    with pytest.raises(MultinodeError, match="generation 4, not 3"):
        found.admit(identity("b"), NAME.model_copy(update={"generation": "4"}), now=0)


def test_what_was_learned_goes_with_the_last_member() -> None:
    found = group(name=GroupName(service="llm"))
    found.admit(identity("a"), NAME, now=0)
    found.remove("a")
    assert found.admit(identity("b"), NAME.model_copy(update={"generation": "4"}), now=0).rank == 1


def test_a_refused_worker_teaches_nothing() -> None:
    found = group(name=GroupName(service="llm"))
    with pytest.raises(MultinodeError, match="model"):
        found.admit(identity("a", fingerprint="0"), NAME, now=0)
    assert found.admit(identity("b"), NAME.model_copy(update={"generation": "4"}), now=0).rank == 1


def test_a_member_is_heard_and_nobody_else() -> None:
    found = group()
    found.admit(identity("a"), NAME, now=10)
    found.admit(identity("b"), NAME, now=10)
    found.heard("b", now=14)
    found.heard("nobody", now=14)
    assert {pod: member.seen for pod, member in found.members.items()} == {"a": 10, "b": 14}


def test_removing_twice_is_harmless() -> None:
    found = group()
    found.admit(identity("a"), NAME, now=0)
    assert found.remove("a") is not None
    assert found.remove("a") is None
