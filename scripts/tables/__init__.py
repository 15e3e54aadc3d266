"""Tables that compare what a plan says with what others publish."""
