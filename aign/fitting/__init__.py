"""Fitting with the general robust loss, no network involved: registration of point clouds, and clustering."""
