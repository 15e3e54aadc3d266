"""A model as an engine sees it: architecture, layers, weights."""
