"""`multinode doctor`: why a service does not serve, or serves badly."""

from vllm_multinode.cli.answer import OutputFormat, as_json
from vllm_multinode.cli.cluster_options import say
from vllm_multinode.cli.service_options import Asked, over_services
from vllm_multinode.contract.exit_codes import ExitCode


@over_services
def doctor(
    asked: Asked,
    *,
    output: OutputFormat = "text",
) -> int:
    """Explain why a service does not serve or serves badly, with evidence and a remedy.

    Exit code 0: nothing is wrong; 75: one does not serve; 79: one serves badly.

    multinode doctor llama -n models

    multinode doctor --local -o json
    """
    from vllm_multinode.operate.doctor import as_text, diagnosis_of

    with asked.source() as place:
        found = [diagnosis_of(seen) for seen in place.observe(asked.name, asked.labels, deep=True)]
    if output == "json":
        say(as_json([one.model_dump(mode="json") for one in found]))
    else:
        say(as_text(found).rstrip("\n"))
    verdicts = {one.verdict for one in found}
    if verdicts & {"does not serve", "not yet"}:
        return ExitCode.NOT_SERVING
    return ExitCode.SERVES_BADLY if "serves badly" in verdicts else ExitCode.OK
