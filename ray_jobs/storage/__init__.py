"""What writes to a run's folder although its store may be away, and the order of attempts at a run."""
