"""A GPU test bench without a GPU: CUDA kernels compiled by g++, behind a stand-in ``cupy``.

``fake_cupy.installed()`` puts the stand-in into ``sys.modules``; ``nvrtc.compile_sm90`` compiles
the same sources for real hardware. What the bench catches is listed in README.md.
"""
