"""Public wrong gradients of recurrent networks, re-created, each beside its right version.

Every exhibit is one function of `wrong` (bool): the code under test as the report describes it,
with the faulty line beside the right one, then the check as a user would write it. Nothing is
copied; dims are pairwise different, T >= 3 and B >= 2 except where the report needs otherwise.

    python -m tests.museum [--json] [--jobs N] [NAME ...]
"""
