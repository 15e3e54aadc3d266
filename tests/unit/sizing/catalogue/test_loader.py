"""The loader: names lead to one entry each, bad data is one line, and reading is quick."""

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.sizing import catalogue
from vllm_multinode.sizing.catalogue import Kind, loader, names

FOLDER = Path(catalogue.__file__).parent
KINDS: tuple[Kind, ...] = ("accelerator", "shape", "model")


def known_names(kind: Kind) -> list[str]:
    """Every name that a user may write, folded, without taking out repetitions."""
    if kind == "model":
        index = yaml.safe_load((FOLDER / "models" / "index.yaml").read_text())
        listed = [{hub_id, hub_id.rpartition("/")[2], *aliases} for hub_id, aliases in index.items()]
    else:
        entries = yaml.safe_load((FOLDER / f"{kind}s.yaml").read_text())[f"{kind}s"]
        listed = [{entry["name"], *entry.get("aliases", ()), *entry.get("products", ())} for entry in entries]
    # Within one entry two spellings may fold to the same.
    return [name for of_one in listed for name in {loader.folded(name) for name in of_one}]


@pytest.mark.parametrize("kind", KINDS)
def test_no_name_leads_to_two_entries(kind: Kind) -> None:
    assert [name for name, count in Counter(known_names(kind)).items() if count > 1] == []


@pytest.mark.parametrize("kind", KINDS)
def test_every_source_is_written_out(kind: Kind) -> None:
    for name in names(kind):
        entry = getattr(catalogue, kind)(name)
        assert all(len(source) > 10 for source in entry.source)


@pytest.mark.parametrize("kind", ["accelerator", "shape"])
def test_no_source_is_left_over(kind: Kind) -> None:
    document = yaml.safe_load((FOLDER / f"{kind}s.yaml").read_text())
    used = {source for entry in document[f"{kind}s"] for source in entry["source"]}
    assert used == document["sources"].keys()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        pytest.param({"memory_gb": -1}, "memory_gb", id="negative-figure"),
        pytest.param({"speed": 3}, "speed", id="unknown-key"),
        pytest.param({"unconfirmed": {"speed": "guessed"}}, "speed", id="doubt-about-no-field"),
        pytest.param({"source": []}, "source", id="no-source"),
    ],
)
def test_bad_data_is_one_line_that_names_the_field(
    change: dict[str, Any], field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = loader._entries("accelerator")["L4"] | change
    monkeypatch.setattr(loader, "_entries", lambda kind: {"L4": entry})
    with pytest.raises(MultinodeError, match=field) as refusal:
        catalogue.accelerator("L4")
    assert "\n" not in str(refusal.value)


def test_reading_is_quick(record_property: Callable[[str, object], None]) -> None:
    """Recorded and printed, not asserted: machines differ. Meant to stay under 40 ms together."""
    for cache in (loader._entries, loader._index, loader._model_index, loader._model_aliases):
        cache.cache_clear()
    begun = time.perf_counter()
    catalogue.accelerator("H100")
    catalogue.shape("p5.48xlarge")
    catalogue.model("GLM-5.2-FP8")
    spent = (time.perf_counter() - begun) * 1000
    record_property("milliseconds", spent)
    print(f"accelerator, shape and the longest model: {spent:.1f} ms")  # noqa: T201
