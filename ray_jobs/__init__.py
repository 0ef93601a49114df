"""Jobs that train, measure and use AIGNs on a laptop, a Ray cluster or an autoscaled cloud."""
