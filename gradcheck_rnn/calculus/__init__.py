"""Floor 2: term classes, printers, vec identities, layouts and the rule families."""
