"""Reports: derivations, verdicts and gradient decay as one typst document each.

One source gives HTML with MathML and PDF, self-contained, without TeX and without a network.
Needs the extra ``report`` (typst, matplotlib); nothing is imported before a report is written.
"""
