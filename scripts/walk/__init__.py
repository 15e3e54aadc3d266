"""The commands of the first pages, run as a new user would."""
