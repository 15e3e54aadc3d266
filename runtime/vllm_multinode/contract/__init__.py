"""What KServe, LeaderWorkerSet and the engine agree on: names, versions, node arithmetic. Pure."""
