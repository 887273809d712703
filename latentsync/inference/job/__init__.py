"""A dub from files to a file: the request, the checks, the networks, the run and its report."""
