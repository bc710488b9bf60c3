"""Schedules: from a derivation to backend-neutral operations, in small passes."""
