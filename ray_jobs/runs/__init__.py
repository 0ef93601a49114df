"""A run: its job, its folder, its checkpoints, and where it begins."""
