"""What a model directory holds, and what of it a group can be cut into."""
