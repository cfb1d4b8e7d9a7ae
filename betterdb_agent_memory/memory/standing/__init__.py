"""How memories stand at a time, computed from their numbers: strength, layer, what is left, how far believed."""
