"""The same pods as processes on this machine."""
