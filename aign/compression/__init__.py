"""Cascaded projection: thinner networks that do what a trained one does (Minnehan and Savakis, CVPR 2019)."""
