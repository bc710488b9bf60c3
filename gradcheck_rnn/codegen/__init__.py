"""Kernels from derivations: a backend-neutral schedule, and one printer a backend."""
