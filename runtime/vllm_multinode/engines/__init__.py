"""One table of what each release of vLLM and Ray does, for the launcher and for the plan."""
