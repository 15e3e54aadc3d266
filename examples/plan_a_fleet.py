"""Plan several models: nodes for each, and how many copies fit on a pool of nodes."""

from vllm_multinode import plan

MODELS = ("llama-3.1-405b-instruct-fp8", "deepseek-r1", "qwen3-235b-a22b", "gpt-oss-120b")


def main(gpu: str = "H100-SXM", nodes: int = 4) -> None:
    """Print a line for each model."""
    for model in MODELS:
        result = plan(model, gpu, nodes=nodes, context=32768, concurrency=8)
        best = result.best
        if best is None or not result.fits:
            needed = result.smallest.label if result.smallest else "more than any number of nodes"
            print(f"{model}: does not fit; it needs {needed}")
            continue
        print(
            f"{model}: {best.label}, {result.replicas} copies on {nodes} nodes, claim {result.claim_gib} GiB"
        )


if __name__ == "__main__":
    main()
