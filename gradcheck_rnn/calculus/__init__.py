"""Floor 2: term classes, printers, vec identities, layouts and the rule families."""

from . import printing  # noqa: F401  (enters how terms are shown in `terms.base.PRINTERS`)
