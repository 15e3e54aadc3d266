"""What is shown while something runs: lines, or a table that is drawn again in place."""
