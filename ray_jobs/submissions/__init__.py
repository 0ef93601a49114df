"""Commands that run on a Ray cluster as its jobs."""
