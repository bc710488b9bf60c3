"""Equations that somebody wrote, judged line by line against the derivation."""
