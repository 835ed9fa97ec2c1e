"""What is looked at: a page about runs, as one file of HTML."""
