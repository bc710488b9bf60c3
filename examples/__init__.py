"""Gradients as people write them, verified; a demonstration; training with generated kernels."""
