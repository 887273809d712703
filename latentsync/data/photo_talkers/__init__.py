"""Still photographs of people that speak: clips with real skin, beards, glasses and collars, and exact truth."""
