from pathlib import Path

import pytest

from vllm_multinode.checkpoint.model_directory import read_model
from vllm_multinode.checkpoint.mounts import mounted_from
from vllm_multinode.contract.errors import MultinodeError

MOUNTS = r"""
1 0 253:1 / / rw,relatime - overlay overlay rw,lowerdir=/x
2 1 0:41 / /mnt/models ro,relatime shared:7 - nfs4 10.0.0.5:/exports/pvc-7d/llama ro,vers=4.1
3 1 0:42 /volumes/csi/llama\0403 /mnt/blank\040in\040it rw - ceph 10.0.0.6:6789:/ rw
4 1 8:1 /pvc/llama /mnt/twice ro - ext4 /dev/sda1 rw
5 1 8:2 / /mnt/twice ro - ext4 /dev/sdb1 rw
"""


@pytest.mark.parametrize(
    ("place", "said"),
    [
        pytest.param("/mnt/models", "10.0.0.5:/exports/pvc-7d/llama (nfs4) is mounted there.", id="nfs"),
        pytest.param(
            "/mnt/blank in it",
            "10.0.0.6:6789:/ (ceph, folder /volumes/csi/llama 3) is mounted there.",
            id="folder-of-a-volume",
        ),
        pytest.param("/mnt/twice", "/dev/sdb1 (ext4) is mounted there.", id="the-later-mount"),
        pytest.param("/mnt/elsewhere", "Nothing is mounted there.", id="nothing"),
    ],
)
def test_where_a_directory_is_mounted_from(tmp_path: Path, place: str, said: str) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    assert mounted_from(Path(place), mounts) == said


def test_where_that_cannot_be_known_nothing_is_said(tmp_path: Path) -> None:
    assert mounted_from(Path("/mnt/models"), tmp_path / "absent") == ""


def test_an_empty_model_directory_says_what_is_mounted_there(tmp_path: Path) -> None:
    with pytest.raises(MultinodeError, match=r"Nothing is mounted there\. Check the claim and path"):
        read_model(tmp_path)


@pytest.mark.parametrize(
    ("meant", "said"),
    [
        ("pvc://models/llama", "It should be folder llama of the claim models"),
        ("pvc://models", "It should be the root of the claim models"),
        ("oci://registry.example/llama:1", "Check oci://registry.example/llama:1"),
    ],
)
def test_an_empty_model_directory_says_which_claim_was_meant(tmp_path: Path, meant: str, said: str) -> None:
    with pytest.raises(MultinodeError, match=said):
        read_model(tmp_path, meant=meant)
