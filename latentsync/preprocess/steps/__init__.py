"""The eight steps of the data pipeline, one module each, and the networks they use."""
