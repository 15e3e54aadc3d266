"""One vLLM engine over several nodes."""
