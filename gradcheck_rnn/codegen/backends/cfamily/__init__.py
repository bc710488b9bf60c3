"""What C and CUDA text share: fused kernels, their pointers and names, expressions."""
