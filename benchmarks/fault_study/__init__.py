"""How many faults the checkers see and name, and how often they accuse right code.

``python -m benchmarks.fault_study -o FILE`` runs the parts of the study and writes one JSON line a
system and part; `table` turns them into ``docs/fault-study.md``.
"""
