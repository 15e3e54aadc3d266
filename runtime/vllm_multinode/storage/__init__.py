"""Filling a claim with a model, and looking whether it is whole."""
