"""Gradients as people write them, verified; a demonstration; training with generated kernels."""

import os

# Products of this size are too small to be shared: on a busy machine two BLAS threads that wait for
# each other were measured eight times slower than one. Set before NumPy is imported.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
