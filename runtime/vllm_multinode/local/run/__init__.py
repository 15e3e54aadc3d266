"""A service over local nodes: its pods, its display, its commands."""
