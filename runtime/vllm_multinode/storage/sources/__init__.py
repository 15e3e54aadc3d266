"""Where a model can be fetched from."""
