"""The Kubernetes API: apply, wait, delete."""
