"""YAML as Kubernetes reads it: documents, scalars, quantities, merges and kustomizations."""
