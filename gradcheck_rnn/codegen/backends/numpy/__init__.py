"""NumPy: readable modules that import nothing but numpy."""
