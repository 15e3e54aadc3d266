"""A small kubelet: it runs the Pods of one namespace on local nodes and writes their status."""
