"""A running service, on a cluster or on this machine: what it does, writes, and why it does not serve."""
