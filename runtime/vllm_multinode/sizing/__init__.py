"""From a model and some accelerators to sizes that can be checked by hand."""
