"""KServe's webhooks and controllers, told without a cluster."""
