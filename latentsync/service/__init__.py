"""Many jobs, with the networks loaded once: a batch that runs through the night, and jobs that come over HTTP."""
