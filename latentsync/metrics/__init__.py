"""Metrics: pure functions from a prediction and a reference to a number, and the networks that some of them need."""
