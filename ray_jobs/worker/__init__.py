"""What the workers of a run do, and what they tell."""
