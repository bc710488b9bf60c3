"""The chapters of a derivation report, in reading order; each adds itself to a manuscript."""
