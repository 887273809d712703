"""What a result says of its own making: label, signature, and the licences of the weights that made it."""
