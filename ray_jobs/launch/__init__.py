"""Starting a run here or on a Ray cluster, and ending it early."""
