"""How time and memory grow with the image, measured: the exponent in the number of tokens, and where models cross."""
