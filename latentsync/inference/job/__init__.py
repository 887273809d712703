"""One dub from files to a file: request, preflight, networks, the run, its report."""
