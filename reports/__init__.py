"""The published gallery: one derivation report a system, and comparisons of gradient decay."""
