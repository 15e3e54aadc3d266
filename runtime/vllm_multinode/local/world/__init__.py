"""Nodes on this machine: namespaces, network, files, and the process that holds them."""
