"""Say for each model of a list how many nodes it takes, and how many copies a pool of nodes holds."""

from vllm_multinode import plan

MODELS = ("llama-3.1-405b-instruct-fp8", "deepseek-r1", "qwen3-235b-a22b", "gpt-oss-120b")


def main(gpu: str = "H100-SXM", nodes: int = 4) -> None:
    """Print a line for each model."""
    for model in MODELS:
        found = plan(model, gpu, nodes=nodes, context=32768, concurrency=8)
        best = found.best
        if best is None or not found.fits:
            needed = found.smallest.label if found.smallest else "more than any number of nodes"
            print(f"{model}: does not fit; it needs {needed}")
            continue
        print(f"{model}: {best.label}, {found.replicas} copies on {nodes} nodes, claim {found.claim_gib} GiB")


if __name__ == "__main__":
    main()
