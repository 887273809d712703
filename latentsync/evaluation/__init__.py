"""Scoring a set of results: pairs of files in, one reproducible table out."""
