"""A folder on disk or in an object store, and what writes to it although it may be away."""
