"""From a name to a release, known or not; and that the table is all that knows releases apart."""

import pytest

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.platforms.releases import DEFAULT, RELEASES, Release, find, listed, require_multi_node

KNOWN = [one for product in RELEASES.values() for one in product]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        pytest.param("0.18.1", "kserve-0.18.1", id="number-alone"),
        pytest.param("v0.15.0", "kserve-0.15.0", id="with-v"),
        pytest.param("0.16", "kserve-0.16.0", id="without-patch"),
        pytest.param("kserve-0.19.0", "kserve-0.19.0", id="by-name"),
        pytest.param("KServe-v0.19.0", "kserve-0.19.0", id="in-capitals"),
        pytest.param("openshift-ai-2.25", "openshift-ai-2.25", id="openshift-ai"),
        pytest.param("rhoai-2.25", "openshift-ai-2.25", id="short-name"),
        pytest.param("rhoai-2.25.1", "openshift-ai-2.25", id="patch-of-openshift-ai"),
        pytest.param("openshift-ai-3.5.0-ea.2", "openshift-ai-3.5", id="early-access"),
    ],
)
def test_a_known_release_is_found(text: str, name: str) -> None:
    assert (find(text).name, find(text).remark) == (name, "")


@pytest.mark.parametrize("release", KNOWN, ids=lambda one: one.name)
def test_every_release_is_found_by_its_own_name(release: Release) -> None:
    assert find(release.name) is release


@pytest.mark.parametrize("releases", RELEASES.values(), ids=RELEASES)
def test_the_table_is_in_order_and_names_each_release_once(releases: tuple[Release, ...]) -> None:
    assert [one.key for one in releases] == sorted({one.key for one in releases})


def test_the_default_serves_over_several_nodes() -> None:
    assert DEFAULT.knows_worker_spec
    assert not DEFAULT.recreates_workers


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("latest", "'latest' names no release", id="a-word"),
        pytest.param("0.18.1.2", "names no release", id="four-numbers"),
        pytest.param("0.18.\N{SUPERSCRIPT TWO}", "names no release", id="a-digit-that-is-not-a-number"),
        pytest.param("", "names no release", id="empty"),
        pytest.param("9", "names no release", id="one-number"),
        pytest.param("0.13.0", "older than any", id="old-kserve"),
        pytest.param("openshift-ai-2.8", "older than any", id="old-openshift-ai"),
        pytest.param("99.1", "newer than any", id="far-too-new"),
        pytest.param("rhoai-99.1", "newer than any", id="far-too-new-openshift-ai"),
        pytest.param("2.25", "Write --platform openshift-ai-2.25", id="openshift-ai-for-kserve"),
        pytest.param("kserve-3.5.0", "Write --platform openshift-ai-3.5", id="openshift-ai-after-kserve"),
        pytest.param("0.14.0", "OpenShift AI 2.18 to 3.0", id="what-a-datasciencecluster-shows"),
    ],
)
def test_what_names_no_release_is_refused(text: str, words: str) -> None:
    with pytest.raises(MultinodeError) as refused:
        find(text)
    assert refused.value.code is ExitCode.USAGE
    assert words in str(refused.value)


@pytest.mark.parametrize("text", ["0.14.1", "openshift-ai-2.15"])
def test_a_release_without_worker_spec_is_refused_where_nodes_are_wanted(text: str) -> None:
    with pytest.raises(MultinodeError, match="drops workerSpec silently"):
        require_multi_node(find(text))


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        pytest.param("0.21.0", "0.20.0", id="newer-than-any"),
        pytest.param("1.0.0", "0.20.0", id="next-major"),
        pytest.param("0.17.0", "0.17.1", id="same-minor-release"),
        pytest.param("kserve-0.14.0", "0.14.1", id="older-patch-of-the-oldest"),
        pytest.param("0.15.3", "0.15.2", id="later-patch"),
        pytest.param("0.19.5", "0.19.0", id="between"),
        pytest.param("openshift-ai-2.26", "2.25", id="after-2.25"),
        pytest.param("openshift-ai-3.1", "3.0", id="between-openshift-ai"),
        pytest.param("openshift-ai-4.0", "3.6", id="next-major-of-openshift-ai"),
    ],
)
def test_a_release_that_is_not_known_says_what_is_assumed(text: str, nearest: str) -> None:
    found = find(text)
    assert f"is unknown; the behaviour of {nearest} is assumed." in found.remark
    assert found.label in found.remark


@pytest.mark.parametrize(
    ("text", "bug", "issue"),
    [
        pytest.param("0.21.0", "recreates_workers", "kserve#6113", id="workers-after-0.20.0"),
        pytest.param("0.20.1", "recreates_workers", "kserve#6113", id="patch-of-0.20.0"),
        pytest.param("0.16.1", "refuses_oci_workers", "RHOAIENG-38499", id="oci-after-0.16.0"),
        pytest.param("openshift-ai-3.1", "refuses_oci_workers", "RHOAIENG-38499", id="oci-after-3.0"),
    ],
)
def test_a_bug_of_one_release_is_not_assumed_for_a_later_one(text: str, bug: str, issue: str) -> None:
    found = find(text)
    assert not getattr(found, bug)
    assert issue in found.remark
    assert found.remark.endswith("not assumed.")


def test_a_bug_that_both_neighbours_have_is_assumed() -> None:
    assert find("0.17.0").never_sets_ready


def test_releases_in_a_sentence() -> None:
    given = [find("0.18.1"), find("rhoai-2.25"), find("0.19.0")]
    assert listed(given) == "KServe 0.18.1, 0.19.0; OpenShift AI 2.25"
    assert listed([*RELEASES["openshift-ai"][2:6], find("rhoai-3.0")]) == "OpenShift AI 2.16 to 2.19, 3.0"
    assert listed([find("0.21.0")]) == "KServe 0.21.0"
