import stat
from pathlib import Path

from vllm_multinode.launcher.ray_token import write_ray_token


def test_it_is_derived_and_only_its_user_can_read_it(tmp_path: Path) -> None:
    file = write_ray_token("s3cret", tmp_path)
    assert file is not None
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(file.read_text()) == 64
    assert "s3cret" not in file.read_text()
    assert write_ray_token("other", tmp_path) == file


def test_every_node_derives_the_same_from_the_same_token(tmp_path: Path) -> None:
    texts = set()
    for node in ("a", "b"):
        (tmp_path / node).mkdir()
        file = write_ray_token("s3cret", tmp_path / node)
        assert file is not None
        texts.add(file.read_text())
    assert len(texts) == 1


def test_a_link_that_lies_in_wait_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "multinode-ray-token").symlink_to(tmp_path / "victim")
    write_ray_token("s3cret", tmp_path)
    assert (tmp_path / "victim").read_text() == "mine"


def test_without_a_token_there_is_none(tmp_path: Path) -> None:
    assert write_ray_token(None, tmp_path) is None
    assert not list(tmp_path.iterdir())
