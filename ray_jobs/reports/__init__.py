"""HTML pages of what is in storage: one run, several beside each other; the parts that all pages are made of."""
