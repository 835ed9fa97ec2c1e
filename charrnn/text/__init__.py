"""What is read: sources of text to batches of ids."""
