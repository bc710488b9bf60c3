"""Backends: a printer, a template and a configuration each."""
