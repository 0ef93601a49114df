"""The command line: options, checks before a start, what a person sees."""
