"""Latency under load with `vllm bench serve`, and what its shape means."""
