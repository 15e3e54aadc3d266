"""What runs inside the pods: settings, preflight, membership, engines, health, recovery."""
