"""What the diagnosis makes of faults written without looking at it.

``python -m benchmarks.blind_faults`` runs the corpus (blind_faults.txt, edits of `blind_cells` and
`blind_cells_more`), ``--corpus second`` another one (blind_second.txt, edits of `blind_second` and
`blind_second_more`), ``--corpus third`` a third (`blind_third`, a module and a text a system) and
``--corpus fourth`` a small one (`blind_fourth`), ``--corpus fifth`` a fifth (`blind_fifth`),
``--corpus sixth`` a sixth (`blind_sixth`), ``--corpus seventh`` a seventh (`blind_seventh`),
``--corpus eighth`` an eighth (`blind_eighth`). They were written from public issues, courses'
forums and experience by somebody who had not read the search for mistakes, and before they were run
(blind_faults.md). The code hands no adjoints over unless ``--adjoints`` is given: then lines of its
own are judged. ``--only NAME`` runs the faults whose names begin so, ``--text`` prints what was
said of each.
"""

from __future__ import annotations

import argparse
import inspect
import re
import time
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from benchmarks import (
    blind_cells,
    blind_cells_more,
    blind_eighth,
    blind_fifth,
    blind_fourth,
    blind_second,
    blind_second_more,
    blind_seventh,
    blind_sixth,
    blind_third,
)
from gradcheck_rnn import Layout, check_model, layers, load, record

LECTURE = Layout(
    parameters={"W" + k: f"[W_{k}, U_{k}]" for k in "fico"}
    | {"b" + k: f"b_{k} as column" for k in "fico"},
    inputs={"x": "x: n B T", "a0": "h0: n B", "c0": "c0: n B"},
    outputs={"a": "h: n B T", "a_T": "h_final: n B", "c_T": "c_final: n B"},
)
MODELS: dict[str, tuple[Any, Any]] = {  # cell → definition (or its name), layout
    "elman": ("elman_hidden", None),
    "char": ("char_rnn", None),
    "lstm": ("lstm", LECTURE),
    "packed": ("lstm", "lecture lstm"),
    "peephole": ("lstm_peephole", None),
    "gru": ("gru", None),
    "torch_gru": ("gru_reset_after", "pytorch gru"),
    "normed": (blind_cells_more.normed, None),
    "stack": (layers("lstm", 2), "pytorch lstm num_layers=2"),
    "bi": ("bidirectional_elman", None),
    "min_gru": ("min_gru", None),
    "sru": ("sru", None),
    "gla": ("gated_linear_attention", None),
    "delta": ("delta_net", None),
    "attention": ("linear_attention", None),
    "decoder": ("encoder_decoder", None),
}
SECOND = blind_second.MODELS | blind_second_more.MODELS
MODELS |= SECOND
THIRD = blind_third.SYSTEMS | blind_fourth.SYSTEMS | blind_fifth.SYSTEMS
THIRD |= blind_sixth.SYSTEMS | blind_seventh.SYSTEMS | blind_eighth.SYSTEMS
MODELS |= {cell: system.MODEL for cell, system in THIRD.items()}
WITH_LOSS = ("char", "decoder", "seq2seq", "charlstm", "cifg")
CORPORA = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")
MARKS = ("right", "half", "wrong", "none")
TEXTS = [Path(__file__).with_name(f"blind_{name}.txt") for name in ("faults", "second")]
TEXTS += [*blind_third.TEXTS, *blind_fourth.TEXTS, *blind_fifth.TEXTS, *blind_sixth.TEXTS]
TEXTS += [*blind_seventh.TEXTS, *blind_eighth.TEXTS]
KINDS = {1: "single", 2: "double", 3: "triple"}
HEADER = r"\n\n|\n(?=\w+/[\w-]+: )"  # a block ends before an empty line or the next fault


class Fault(NamedTuple):
    """One edit: the text before and after it, what is wrong then, and what names it."""

    name: str
    truth: str
    before: str
    after: str
    names: str
    lines: frozenset[str]  # wrong ones where adjoints are handed over
    source: str

    @property
    def edit(self) -> tuple[str, str]:
        """What is replaced, and by what."""
        return self.before, self.after


class Outcome(NamedTuple):
    """What was said of one fault: marks, seconds and the sentence."""

    name: str
    found: bool  # the verdict is fail
    located: bool  # named, or the first wrong arrays are told and others are cleared
    named: str  # one of MARKS
    seconds: float
    said: str
    told: bool = True  # where adjoints are handed over: what stands in every wrong line


class Corpus(NamedTuple):
    """Single faults by name, pairs and triples, and per cell the lines that hand adjoints over."""

    faults: dict[str, Fault]
    pairs: list[list[str]]
    more: dict[tuple[str, ...], frozenset[str]]  # lines that only both together make wrong
    hands: dict[str, list[tuple[str, str]]]


def corpus(text: str) -> Corpus:
    """The corpus from its text."""
    faults: dict[str, Fault] = {}
    pairs: list[list[str]] = []
    more: dict[tuple[str, ...], frozenset[str]] = {}
    hands: dict[str, list[tuple[str, str]]] = {}
    for block in re.split(HEADER, text):
        lines = [line for line in block.splitlines() if line and not line.startswith("#")]
        if lines and lines[0].startswith("both "):
            for line in lines:
                pair, _, lines_too = line.removeprefix("both ").partition(" lines ")
                pairs.append(pair.split(", "))
                more[tuple(pairs[-1])] = _labels(lines_too)
        elif lines and lines[0].startswith("hand "):
            for cell, beginning, told in (line[5:].split(" | ") for line in lines):
                hands.setdefault(cell, []).append((beginning, told))
        elif lines:
            name, _, truth = lines[0].partition(": ")
            before, after = ("\n".join(x[1:] for x in lines if x[0] == sign) for sign in "-+")
            rest = dict(line.split(" ", 1) for line in lines[1:] if line[0] not in "-+")
            source = rest.get("from", "own")
            told = _labels(rest.get("lines", ""))
            faults[name] = Fault(name, truth, before, after, rest["is"], told, source)
    return Corpus(faults, pairs, more, hands)


def _labels(text: str) -> frozenset[str]:
    return frozenset(word.replace("~", " ") for word in text.split())


FAULTS, PAIRS, MORE, HANDS = corpus("\n\n".join(text.read_text(encoding="utf-8") for text in TEXTS))


def module_of(cell: str) -> ModuleType:
    """The module with the code of a cell."""
    if cell in THIRD:
        return THIRD[cell]
    modules = (blind_cells, blind_cells_more, blind_second, blind_second_more)
    return next(module for module in modules if hasattr(module, part(cell, "back")))


def part(cell: str, which: str) -> str:
    """Name of the function of a cell: what runs forward ("fore"), or what is edited ("back")."""
    if cell in THIRD:
        names = ("loss", "gradient") if cell in WITH_LOSS else ("forward", "backward")
        return names[which == "back"]
    if cell in WITH_LOSS:
        return f"{cell}_loss" if which == "fore" else f"{cell}_gradient"
    return f"{cell}_forward" if which == "fore" else f"{cell}_backward"


@cache
def definition(cell: str) -> Any:
    """The definition that a cell's code implements."""
    model = MODELS[cell][0]
    return load(model) if isinstance(model, str) else model


def handing_over(cell: str, source: str) -> str:
    """The code with lines that hand adjoints over."""
    out = []
    for line in source.splitlines():
        out.append(line)
        for beginning, told in HANDS.get(cell, []):
            if line.strip().startswith(beginning):
                out.append(line[: len(line) - len(line.lstrip())] + told)
    return "\n".join(out)


def edited(cell: str, edits: list[tuple[str, str]], adjoints: bool = False) -> dict[str, Any]:
    """The names of a cell's module after edits of its backward pass; each must change the text."""
    module = module_of(cell)
    of = module if cell in THIRD else getattr(module, part(cell, "back"))
    source = inspect.getsource(of)
    for old, new in edits:
        if source.count(old) != 1:
            raise ValueError(f"{cell}: not one {old!r} in the code")
        source = source.replace(old, new)
    space = dict(vars(module)) | {"record": record}
    exec(handing_over(cell, source) if adjoints else source, space)  # the corpus is text of our own
    return space


def check(cell: str, edits: list[tuple[str, str]], adjoints: bool = False) -> Any:
    """The report of the tool on a cell's code after edits."""
    space, layout = edited(cell, edits, adjoints), MODELS[cell][1]
    fore, back = space[part(cell, "fore")], space[part(cell, "back")]
    options = {} if layout is None else {"layout": layout}
    if cell in WITH_LOSS:
        loss = fore if cell in THIRD else lambda a: fore(a)[0]
        return check_model(definition(cell), gradient=back, loss=loss, **options)
    return check_model(definition(cell), forward=fore, backward=back, **options)


def found_words(wanted: str, clause: str) -> bool:
    """Does a clause speak of the equation wanted, with the words wanted (one of those with ¦)?"""
    place, _, words = wanted.partition(":")
    alike = r"(?:in [^:]* alike: )*"
    if place.strip() and not re.match(alike + _any_of(place.strip()), clause):
        return False
    return all(re.search(r"(?<![\w∇δ])" + _any_of(word), clause) for word in words.split())


def _any_of(words: str) -> str:
    """A pattern of any of the words between ¦, ~ for a space."""
    return "(?:" + "|".join(re.escape(w.replace("~", " ")) for w in words.split("¦")) + ")"


def claims(truth: str, clauses: list[str]) -> set[int]:
    """Which clauses tell a truth; none unless all that it needs are there."""
    for alternative in truth.split(" | "):
        mine = [
            {i for i, clause in enumerate(clauses) if found_words(wanted, clause)}
            for wanted in alternative.split(" + ")
        ]
        if all(mine):
            return set.union(*mine)
    return set()


def judge(truths: list[str], sentence: str) -> str:
    """Is what a diagnosis names right, half (not all or too much), wrong, or is there no name?"""
    if "what you get with" not in sentence:
        return "none"
    named = sentence.split("what you get with", 1)[1].replace("{", "").replace("}", "")
    named = re.sub(r"^( any of \d+ mistakes, which nothing tried tells apart)?: ", "", named)
    named = re.sub(r": residual \S+$", "", named)
    marks = set()
    for option in named.split("; or "):
        clauses = option.split(", and ")
        told = [claims(truth, clauses) for truth in truths]
        if all(told) and set.union(*told) == set(range(len(clauses))):
            return "right"
        marks.add("half" if any(told) else "wrong")
    return "half" if "half" in marks else "wrong"


def judge_lines(truths: list[frozenset[str]], lines: Any) -> str:
    """Are just the wrong lines called wrong, only some of them or more, others, or none?"""
    wanted = frozenset[str]().union(*truths)
    wrong = {line.name for line in lines if str(line.verdict) == "fail"}
    if wrong == wanted:
        return "right"
    return "half" if wrong & wanted else "wrong" if wrong else "none"


def outcome(names: list[str], adjoints: bool = False) -> Outcome:
    """Run the tool on faults that are there at once, and judge what it says."""
    return outcome_of([FAULTS[name] for name in names], adjoints, MORE.get(tuple(names)))


def outcome_of(
    rows: list[Fault], adjoints: bool = False, more: frozenset[str] | None = None
) -> Outcome:
    """Run the tool on these faults of one cell at once (``more``: lines only all make wrong)."""
    names = [row.name for row in rows]
    begun = time.process_time()
    report = check(names[0].split("/")[0], [row.edit for row in rows], adjoints)
    seconds = time.process_time() - begun
    if adjoints:
        mark = judge_lines([*(row.lines for row in rows), more or frozenset()], report.lines)
        found = str(report.verdict) == "fail"
        some = mark in ("right", "half")
        bad = [x for x in report.lines if str(x.verdict) == "fail"]
        told = all(x.told("mistake") or x.told("by-gradients") for x in bad)
        said = str(report.sentence())
        return Outcome(" + ".join(names), found, some, mark, seconds, said, told)
    said = str(report.diagnosis)
    lines = said.splitlines()
    mark = judge([row.names for row in rows], lines[0])
    starts = [line.strip() for line in lines]
    cleared = any(line.startswith("right (") for line in starts)
    first = any(line.startswith(("already wrong", "wrong first")) for line in starts)
    located = mark in ("right", "half") or (first and cleared)
    return Outcome(" + ".join(names), str(report.verdict) == "fail", located, mark, seconds, said)


def main(arguments: list[str] | None = None) -> None:
    """Run the corpus, or a part of it, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--corpus", choices=CORPORA, default="first")
    parser.add_argument("--only", default="", help="names that begin so")
    parser.add_argument("--text", action="store_true", help="print what was said")
    parser.add_argument("--adjoints", action="store_true", help="hand adjoints over, judge lines")
    options = parser.parse_args(arguments)
    chosen = [names for names in in_corpus(options.corpus) if names[0].startswith(options.only)]
    if options.adjoints:
        chosen = [names for names in chosen if all(FAULTS[name].lines for name in names)]
    totals: dict[str, list[Outcome]] = {kind: [] for kind in KINDS.values()}
    for names in chosen:
        one = outcome(names, options.adjoints)
        totals[KINDS[len(names)]].append(one)
        marks = f"{'found' if one.found else 'MISSED':7}{'located' if one.located else '-':9}"
        print(f"{one.name:60} {marks}{one.named:6} {one.seconds:5.1f} s", flush=True)
        if options.text or one.named == "wrong" or not one.told:
            print("    " + one.said.replace("\n", "\n    "))
    for kind, outcomes in totals.items():
        if outcomes:
            print(f"{kind}: {len(outcomes)} faults, {summary(outcomes)}")


def corpus_of(cell: str) -> str:
    """The corpus that a cell's faults belong to."""
    if cell in blind_eighth.SYSTEMS:
        return "eighth"
    if cell in blind_seventh.SYSTEMS:
        return "seventh"
    if cell in blind_sixth.SYSTEMS:
        return "sixth"
    if cell in blind_fifth.SYSTEMS:
        return "fifth"
    if cell in blind_fourth.SYSTEMS:
        return "fourth"
    return "third" if cell in THIRD else "second" if cell in SECOND else "first"


def in_corpus(which: str) -> list[list[str]]:
    """The names of the faults of a corpus: single ones, then pairs, then triples."""
    every = [[name] for name in FAULTS] + sorted(PAIRS, key=len)
    return [names for names in every if corpus_of(names[0].split("/")[0]) == which]


def summary(outcomes: list[Outcome]) -> str:
    """Counts of marks."""
    counts = {mark: sum(one.named == mark for one in outcomes) for mark in MARKS}
    found, located = sum(one.found for one in outcomes), sum(one.located for one in outcomes)
    names = ", ".join(f"{mark} {count}" for mark, count in counts.items())
    text = f"found {found}, located {located}, named: {names} "
    text += f"({counts['right'] / len(outcomes):.0%})"
    untold = sum(not one.told for one in outcomes)
    return f"{text}, wrong lines without a name in {untold}" if untold else text


if __name__ == "__main__":
    main()
