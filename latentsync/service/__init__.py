"""Many jobs: a batch that runs through the night, with the networks loaded once."""
