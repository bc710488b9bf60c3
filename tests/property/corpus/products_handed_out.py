"""Products of one state that go straight to outputs."""

from gradcheck_rnn.language import cell


@cell(states="h: p", params="W1: d p; W2: q p", outputs="h y1 y2")
def definition(h, W1, W2):
    v1 = W1 @ h
    v2 = W2 @ h
    return {"h": h, "y1": v1, "y2": v2}
