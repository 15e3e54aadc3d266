import pytest

from vllm_multinode.contract import env


def test_ours_are_all_listed_and_share_one_prefix() -> None:
    named = {value for value in vars(env).values() if isinstance(value, str) and value.startswith(env.PREFIX)}
    assert named - {env.PREFIX} == env.OURS | env.COMMAND_LINE


def test_no_name_has_two_givers() -> None:
    givers = (env.KSERVE, env.LWS, env.DOWNWARD, env.OURS)
    assert len(frozenset().union(*givers)) == sum(map(len, givers))


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        pytest.param("MULTINODE_EXECUTER", env.EXECUTOR, id="letter"),
        pytest.param("MULTINODE_HANGTIMEOUT", env.HANG_TIMEOUT, id="underscore"),
        pytest.param("MULTINODE_HEAD_TIMOUT", env.HEAD_TIMEOUT, id="left-out"),
        pytest.param("MULTINODE_COLOUR", "", id="far-from-all"),
    ],
)
def test_a_mistyped_variable_is_told_with_the_nearest(name: str, nearest: str) -> None:
    assert env.unknown([name, env.EXECUTOR, env.CATALOGUE, "OTHER_EXECUTER"]) == {name: nearest}
