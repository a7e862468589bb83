"""What a frame costs beyond its network."""
