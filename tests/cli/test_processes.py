"""What the user's code can do to a run: it may leave, crash, hang, print; the account holds."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .test_doors import validate
from .test_errors import GOOD as CELL
from .test_errors import one_line
from .test_verify import PROGRAM

CASES = """\
import ctypes, os, sys
import numpy as np
from gradcheck_rnn import gradient_case

os.write(1, b"raw\\n"); print("printed"); os.system("echo started")
C = ctypes.CDLL(None)
point = {"w": np.arange(1.0, 4)}

def loss(p):
    return (p["w"] ** 2).sum()

def right(p):
    return {"w": 2 * p["w"]}

def forks(p):
    if os.fork() == 0:
        os._exit(0)
    return loss(p)

def eats(p):
    return loss(p) + np.ones(10**9)[0]

def hangs(p):
    while True:
        pass

@gradient_case
def good():
    return loss, right, point

@gradient_case
def body():
    sys.exit(0)

@gradient_case
def hard():
    os._exit(0)

@gradient_case
def in_c():
    return loss, (lambda p: C._exit(0)), point

@gradient_case
def fault():
    return loss, (lambda p: ctypes.string_at(0)), point

@gradient_case
def raises():
    raise KeyboardInterrupt

@gradient_case
def forking():
    return forks, right, point

@gradient_case
def eating():
    return eats, right, point

@gradient_case
def hanging():
    return hangs, right, point

@gradient_case
def wrong():
    return loss, (lambda p: {"w": 3 * p["w"]}), point
"""
ACCOUNT = {
    "planned": 10, "reported": 3,
    "crashed": ["mine.py:body", "mine.py:hard", "mine.py:in_c", "mine.py:fault"],
    "timed_out": ["mine.py:hanging"], "out_of_memory": ["mine.py:eating"],
    "raised": ["mine.py:raises"],
}  # fmt: skip


@pytest.fixture(autouse=True)
def _interrupts_arrive() -> Iterator[None]:
    """Children of a shell's background job are born deaf to SIGINT: here they are not."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("jobs", [(), ("--jobs", "2")])
def test_every_planned_case_is_accounted_for(run, write, jobs: tuple[str, ...]) -> None:
    limits = ("--timeout", "6", "--memory", "2GB")
    ran = run("verify", write(CASES), *limits, *jobs, "--json", "--report", "r.typ")
    assert ran.code == 1
    plain = json.loads(ran.out)
    assert plain["accounting"] == ACCOUNT
    if importlib.util.find_spec("jsonschema"):
        validate(plain)
    assert (plain["verdict"], plain["passed"]) == ("fail", False)
    (reports,) = [v["reports"] for v in plain.get("verifications", [plain])]
    assert [(r["title"], r["verdict"], r["mode"]) for r in reports] == [
        ("good", "pass", "entrywise"), ("body", "fail", "exit"), ("hard", "fail", "exit"),
        ("in_c", "fail", "crash"), ("fault", "fail", "crash"), ("raises", "fail", "error"),
        ("forking", "pass", "entrywise"), ("eating", "fail", "memory"),
        ("hanging", "fail", "timeout"), ("wrong", "fail", "entrywise"),
    ]  # fmt: skip
    line = CASES[: CASES.index("sys.exit(0)")].count("\n") + 1
    for said in (
        f"error: mine.py:body: exits (sys.exit(0) at mine.py:{line}) before there is a result",
        "error: mine.py:in_c: its process ended with exit code 0 before there was a result",
        "error: mine.py:fault: its process died of SIGSEGV: ",
        "error: mine.py:eating: needs more memory than there is",
        "error: mine.py:hanging: did not end within 6 s",
        "\nraw\n", "printed\n", "started\n",
    ):  # fmt: skip
        assert said in f"\n{ran.err}"
    assert "wrong" in Path("r.typ").read_text(encoding="utf-8")


def test_a_loss_that_leaves_is_no_pass(run, write) -> None:
    text = CASES.partition("@gradient_case\ndef body")[0]
    write(text.replace("    return (p[", "    os._exit(0); return (p["), "hard.py")
    write(text.replace("    return (p[", "    sys.exit(0); return (p["), "soft.py")
    write(text, "good.py")
    ran = run("verify", "hard.py", "soft.py", "good.py", "--json")
    assert ran.code == 1
    found = json.loads(ran.out)["verifications"]
    assert [v["verdict"] for v in found] == ["fail", "fail", "pass"]


def test_a_file_that_ends_its_process_costs_no_other(run, write) -> None:
    text = CASES.partition("@gradient_case\ndef body")[0]
    write(text, "good.py")
    write("import ctypes\nctypes.CDLL(None)._exit(0)\n", "gone.py")
    write("import sys\nsys.exit(0)\n", "leaves.py")
    ran = run("verify", "gone.py", "leaves.py", "good.py")
    assert ran.code == 1
    assert "error: gone.py: its process ended with exit code 0 before there was" in ran.err
    assert "error: leaves.py:2: exits while it is loaded" in ran.err
    assert "fail: 1 of 3 passed" in ran.out
    ran = run("verify", "leaves.py")
    assert ran.code == 2
    assert ran.out == ""
    assert run("verify", "gone.py").code == 1
    assert run("verify", "gone.py", "--jobs", "1", "--json").code == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import os\nos._exit(0)\n", "mine.py:2: exits while it is loaded"),
        ("class E(BaseException):\n    pass\nraise E('x')\n", "mine.py:3: E: x"),
        ("raise KeyboardInterrupt\n", "mine.py:1: KeyboardInterrupt"),
        ("import numpy as np\ndef f(x):\n    return x\nnp.abs = f\n", "mine.py:2: numpy.abs is"),
        (CELL.replace("    h = tanh", "    import sys; sys.exit(0)\n    h = tanh"), "at mine.py:5"),
        (CELL.replace("    h = tanh", "    import os; os._exit(0)\n    h = tanh"), "at mine.py:5"),
    ],
)
def test_a_file_that_leaves_is_one_line_in_every_command(
    run, write, text: str, message: str
) -> None:
    import numpy as np

    before, leave = np.abs, os._exit
    name = write(text)
    for argv in (("derive", name), ("generate", name), ("prove", name),
                 ("vectors", name, "-o", "v.npz"), ("report", name, "-o", "r.typ")):  # fmt: skip
        ran = run(*argv)
        assert ran.code == 2, argv
        assert message in one_line(ran.err)
        assert ran.out == ""
    assert np.abs is before
    assert os._exit is leave


def test_what_a_file_prints_goes_to_stderr(write, tmp_path: Path) -> None:
    """Python's prints, those below it, and those of programs that the file starts."""
    noise = "import os, sys\nos.write(1, b'raw\\n'); print('printed'); os.system('echo started')\n"
    name = write(noise + CELL.replace("    h = tanh", "    print('traced')\n    h = tanh"))
    for argv in (["derive", name, "--format", "json"], ["generate", name], ["prove", name]):
        done = subprocess.run([PROGRAM, *argv], capture_output=True, text=True, check=True)
        for word in ("raw\n", "printed\n", "started\n", "traced\n"):
            assert word in done.stderr
            assert word not in done.stdout
        assert done.stdout


def test_stdout_by_name_is_stdout(run, write) -> None:
    for argv in (("derive", "linear"), ("generate", write(CELL))):
        plain = run(*argv).out
        for name in ("/dev/stdout", "/dev/fd/1"):
            ran = run(*argv, "-o", name)
            assert (ran.code, ran.out, ran.err) == (0, plain, "")


def test_output_that_cannot_be_written_is_no_pass(tmp_path: Path) -> None:
    script = (
        '"$0" cells --json >&-; echo $?; "$0" cells >/dev/full; echo $?; "$0" nope 2>&-; echo $?;'
        "for words in cells --help; do"
        ' { "$0" $words; echo $? >&3; } 3>code | (exec 0<&-; sleep 1); cat code; done'
    )
    done = subprocess.run(
        ["bash", "-c", script, PROGRAM], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["74", "74", "2", "141", "141"]
    assert [line.partition(": ")[2] for line in done.stderr.splitlines()] == [
        "the output cannot be written: stdout is closed",
        "the output cannot be written: No space left on device",
    ]


HANGS = """\
import os, subprocess
from gradcheck_rnn import gradient_case

def loss(p):
    started = subprocess.Popen(["sleep", "100"])
    with open(f"pids.{os.getpid()}", "w") as f:
        f.write(f"{os.getpid()} {started.pid} ")
    while True:
        pass

@gradient_case
def one():
    return loss, loss, {"w": 1.0}

@gradient_case
def two():
    return loss, loss, {"w": 1.0}
"""


@pytest.mark.parametrize(("number", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGKILL", -9)])
def test_a_file_that_hangs_ends_with_its_command(
    write, tmp_path: Path, number: str, code: int
) -> None:
    text = "import os, time\nopen('pid', 'w').write(f'{os.getpid()} ')\nwhile True:\n    pass\n"
    with subprocess.Popen(
        [PROGRAM, "derive", write(text)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        pid = tmp_path / "pid"
        for _ in range(600):
            if pid.exists() and pid.read_text().endswith(" "):
                break
            time.sleep(0.05)
        process.send_signal(getattr(signal, number))
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (code, "")
    assert err == f"error: {'interrupted' if code == 130 else 'ended by a signal'}\n"
    for _ in range(100):
        if not running(int(pid.read_text())):
            break
        time.sleep(0.05)
    assert not running(int(pid.read_text()))


@pytest.mark.parametrize("jobs", [(), ("--jobs", "2")])
@pytest.mark.parametrize(("number", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGKILL", -9)])
def test_nothing_is_left_running_and_no_pipe_left_open(
    write, tmp_path: Path, number: str, code: int, jobs: tuple[str, ...]
) -> None:
    command = [PROGRAM, "verify", write(HANGS), *jobs]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        pids: list[int] = []
        for _ in range(600):
            pids = [int(n) for f in tmp_path.glob("pids.*") for n in f.read_text().split()]
            if len(pids) == (4 if jobs else 2):
                break
            time.sleep(0.05)
        process.send_signal(getattr(signal, number))
        out, err = process.communicate(timeout=20)  # both pipes are closed at the other end
    assert process.returncode == code
    assert out == ""
    assert err == {130: "error: interrupted\n", 143: "error: ended by a signal\n"}.get(code, "")
    for _ in range(100):
        left = [pid for pid in pids if running(pid)]
        if not left:
            break
        time.sleep(0.05)
    assert pids
    assert not left


def running(pid: int) -> bool:
    """Whether a process is there, and no zombie that nobody has asked about."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    if sys.platform != "linux":
        return True
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("--timeout", "0"), "timeout '0' is no positive number of seconds"),
        (("--timeout", "soon"), "timeout 'soon' is no positive number of seconds"),
        (("--memory", "4"), "memory '4' is too little"),
        (("--memory", "much"), "memory 'much' is no size, like 4GB or 500MB"),
        (
            ("--memory", "1GB", "--dask", "tcp://x:1"),
            "--timeout and --memory are for processes here",
        ),
    ],
)
def test_misuse_of_limits(run, argv: tuple[str, ...], message: str) -> None:
    ran = run("verify", "linear", *argv)
    assert ran.code == 2
    assert message in one_line(ran.err)


def test_annotations_escape_what_names_hold(run, write) -> None:
    text = CASES.partition("@gradient_case\ndef body")[0].replace("2 * p", "3 * p")
    text = text.replace('"w"', '"a\\n::b%"').replace(
        "@gradient_case\n", "@gradient_case(name='x\\n::y,%')\n"
    )
    ran = run("verify", write(text), "--github")
    assert ran.code == 1
    (line,) = [x for x in ran.out.splitlines() if x.startswith("::")]
    assert "title=x%0A%3A%3Ay%2C%25%3A gradient fail::" in line
    assert "a%0A::b%25" in line


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize(
    ("command", "target"),
    [
        (("derive",), "loaded.py:c"),
        (("generate", "-o", "made.py"), "traced.py:c"),
        (("report", "-o", "made.html"), "traced.py:c"),
        (("prove",), "crash.py:c"),
    ],
)
def test_compiled_code_that_ends_the_process_is_no_success(
    tmp_path: Path, command: tuple[str, ...], target: str
) -> None:
    text = (
        "import ctypes\nfrom gradcheck_rnn import cell\n{}@cell(states='h: p', params='W: p p')\n"
    )
    text += "def c(h, W):\n    {}\n    return W @ h\n"
    leave = "ctypes.CDLL(None)._exit(0)"
    (tmp_path / "loaded.py").write_text(text.format(leave + "\n", "pass"))
    (tmp_path / "traced.py").write_text(text.format("", leave))
    (tmp_path / "crash.py").write_text(text.format("", "ctypes.CDLL(None).abort()"))
    ran = subprocess.run(
        [sys.executable, "-m", "gradcheck_rnn", command[0], target, *command[1:]],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 2
    how = "by SIGABRT: abort in compiled code" if "crash" in target else "with exit code 0"
    assert ran.stderr.splitlines()[-1] == (
        f"error: {target}: it, or a library it loads, ended the process {how} before the command "
        "was done"
    )
    assert ran.stdout == ""
    assert not list(tmp_path.glob("made*"))
