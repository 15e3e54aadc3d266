"""The control planes that services are written for: what they refuse, default, make and never finish."""
