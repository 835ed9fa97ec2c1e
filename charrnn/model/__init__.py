"""The equation, and the network made of it."""
