"""What is written: probabilities to text."""
