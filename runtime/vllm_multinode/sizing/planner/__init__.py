"""From a model and GPUs to sizes: request, memory, choice, report."""
