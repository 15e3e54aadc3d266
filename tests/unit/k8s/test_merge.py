"""The strategic merge of pods and containers; expected results are those of Kubernetes' own code."""

from typing import Any

import pytest

from vllm_multinode.k8s.merge import as_go_writes, strategic_merge


def names(*values: str) -> list[dict[str, str]]:
    return [{"name": value} for value in values]


@pytest.mark.parametrize(
    ("original", "patch", "merged"),
    [
        pytest.param({"a": 1}, {"b": 2}, {"a": 1, "b": 2}, id="a-field-is-added"),
        pytest.param({"a": 1, "b": 2}, {"a": None}, {"b": 2}, id="null-removes"),
        pytest.param(
            {"nodeSelector": {"a": "1"}},
            {"nodeSelector": {"b": "2"}},
            {"nodeSelector": {"a": "1", "b": "2"}},
            id="maps-merge",
        ),
        pytest.param(
            {"tolerations": [{"key": "a"}]},
            {"tolerations": [{"key": "b"}]},
            {"tolerations": [{"key": "b"}]},
            id="tolerations-are-replaced",
        ),
        pytest.param(
            {"command": ["a", "b"]}, {"command": ["c"]}, {"command": ["c"]}, id="commands-are-replaced"
        ),
        pytest.param(
            {"volumeMounts": [{"mountPath": "/a", "name": "x"}]},
            {"volumeMounts": [{"mountPath": "/a", "name": "y"}, {"mountPath": "/b", "name": "x"}]},
            {"volumeMounts": [{"mountPath": "/a", "name": "y"}, {"mountPath": "/b", "name": "x"}]},
            id="mounts-go-by-path",
        ),
        pytest.param(
            {"ports": [{"containerPort": 8080, "name": "http"}]},
            {"ports": [{"containerPort": 8080, "name": "h2c"}]},
            {"ports": [{"containerPort": 8080, "name": "h2c"}]},
            id="ports-go-by-number",
        ),
        pytest.param(
            {"volumes": [{"name": "v", "emptyDir": {}}]},
            {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]},
            {"volumes": [{"name": "v", "emptyDir": {}, "persistentVolumeClaim": {"claimName": "c"}}]},
            id="a-volume-keeps-its-first-source",
        ),
        pytest.param({"env": "x"}, {"env": names("a")}, {"env": names("a")}, id="another-type-replaces"),
    ],
)
def test_merges(original: dict[str, Any], patch: dict[str, Any], merged: dict[str, Any]) -> None:
    assert strategic_merge(original, patch) == merged


@pytest.mark.parametrize(
    ("original", "patch", "order"),
    [
        pytest.param("ab", "b", "ab", id="named-in-place"),
        pytest.param("ab", "c", "cab", id="a-new-one-comes-first"),
        pytest.param("ab", "bc", "abc", id="what-preceded-the-named-one-stays-ahead"),
        pytest.param("abc", "ca", "bca", id="the-patch-keeps-its-order"),
        pytest.param("abc", "xb", "xabc", id="new-ahead-of-named"),
        pytest.param("", "ab", "ab", id="nothing-below"),
    ],
)
def test_the_order_of_a_merged_list_is_that_of_kubernetes(original: str, patch: str, order: str) -> None:
    merged = strategic_merge({"env": names(*original)}, {"env": names(*patch)})
    assert merged["env"] == names(*order)


def test_ports_of_one_number_are_brought_together() -> None:
    below = [
        {"containerPort": 80, "protocol": "TCP"},
        {"containerPort": 81},
        {"containerPort": 80, "protocol": "UDP"},
    ]
    merged = strategic_merge({"ports": below}, {"ports": [{"containerPort": 82}]})
    assert [one["containerPort"] for one in merged["ports"]] == [82, 80, 80, 81]


def test_neither_side_is_changed() -> None:
    original, patch = {"env": [{"name": "a", "value": "1"}]}, {"env": [{"name": "a", "value": "2"}]}
    strategic_merge(original, patch)
    assert original == {"env": [{"name": "a", "value": "1"}]}
    assert patch == {"env": [{"name": "a", "value": "2"}]}


def test_an_item_without_its_key_is_refused() -> None:
    with pytest.raises(ValueError, match="lacks its key 'name'"):
        strategic_merge({"env": names("a")}, {"env": [{"value": "1"}]})


def test_go_leaves_out_what_is_empty_and_keeps_what_is_a_pointer() -> None:
    written = {
        "image": "",
        "args": [],
        "hostNetwork": False,
        "enableServiceLinks": False,
        "emptyDir": {},
        "nodeSelector": {},
        "terminationGracePeriodSeconds": 0,
        "initialDelaySeconds": 0,
        "resources": {"limits": {"memory": "1024Mi", "cpu": 1}, "requests": {}},
    }
    assert as_go_writes(written) == {
        "enableServiceLinks": False,
        "emptyDir": {},
        "terminationGracePeriodSeconds": 0,
        "resources": {"limits": {"memory": "1Gi", "cpu": "1"}},
    }
