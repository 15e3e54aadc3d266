"""The last benchmark of a service on the page: what limits it, the drawings, and the table. Pure."""

from xml.etree.ElementTree import Element

from vllm_multinode.operate.bench.charts import drawings
from vllm_multinode.operate.bench.result import BenchResult
from vllm_multinode.operate.bench.tables import rows, titles
from vllm_multinode.operate.bench.verdict import Verdict
from vllm_multinode.operate.markup import Content, node
from vllm_multinode.operate.page.tables import data_table


def under_load(found: BenchResult, place: str) -> Element:
    """A section of the page.

    Args:
        found: the benchmark.
        place: id of the service on the page.
    """
    load = found.load
    told = (
        f"Measured {found.made} at {found.url}: {found.model}, prompts of {load.input_tokens} tokens, "
        f"answers of {load.output_tokens}."
    )
    verdicts: list[Content] = [_verdict(one) for one in found.verdicts]
    figures = [node("figure", drawn, class_="chart") for drawn in drawings(found).values()]
    return node(
        "section",
        node("h2", "Under load"),
        node("p", told),
        node("p", f"Ended early: {found.ended}", class_="failure") if found.ended else None,
        node("ul", *verdicts, class_="findings"),
        node("div", *figures, class_="charts"),
        data_table(f"load-{place}", titles(), rows(found.rungs), "By concurrency; latencies in milliseconds"),
    )


def _verdict(one: Verdict) -> Element:
    evidence = node("ul", *(node("li", line) for line in one.evidence)) if one.evidence else None
    return node("li", node("b", one.id), f": {one.sentence} ", node("span", one.advice), evidence)
