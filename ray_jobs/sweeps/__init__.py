"""A sweep: many runs of one task whose options are searched by Ray Tune."""
