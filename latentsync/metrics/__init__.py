"""Numbers that judge a result. A metric is a pure function; the networks that some need lie beside it."""
