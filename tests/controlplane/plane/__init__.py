"""A real Kubernetes API and a real KServe as processes of this machine, on the loopback."""
