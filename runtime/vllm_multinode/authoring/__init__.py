"""From what a user means to what KServe is given, and what KServe makes of it: pure, YAML in and YAML out."""
