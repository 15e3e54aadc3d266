from vllm_multinode.contract import env


def test_ours_are_all_listed_and_share_one_prefix() -> None:
    named = {value for value in vars(env).values() if isinstance(value, str) and value.startswith(env.PREFIX)}
    assert named - {env.PREFIX} == env.OURS | env.COMMAND_LINE


def test_no_name_has_two_givers() -> None:
    givers = (env.KSERVE, env.LWS, env.DOWNWARD, env.OURS)
    assert len(frozenset().union(*givers)) == sum(map(len, givers))
