"""The service over HTTP: routes, what they take and give, and what stands before them."""
