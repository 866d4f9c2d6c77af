"""The step context that profile packages written for the seed are given."""
