"""What is kept: the files of a run."""
