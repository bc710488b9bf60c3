"""Where the gradient goes: spectra, products in log scale, Lyapunov exponents, bounds, verdicts."""
