"""x"""


def study(seed):
    return {}
