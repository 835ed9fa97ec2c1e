"""What is measured: how surprised a model is by a text."""
