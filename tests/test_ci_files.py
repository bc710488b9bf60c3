"""The files that other projects' CI reads: the action's script and the hook's entry are run."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from gradcheck_rnn import __version__

yaml = pytest.importorskip("yaml", reason="PyYAML reads the files; it comes with Dask")
ROOT = Path(__file__).parent.parent
ACTION: Any = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
(HOOK,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))

GOOD = """\
from gradcheck_rnn import gradient_case

@gradient_case
def mine():
    return lambda x: (x**2).sum(), lambda x: 2 * x, 1.5
"""


@pytest.fixture
def shell(tmp_path: Path) -> Any:
    (tmp_path / "gradcheck_a.py").write_text(GOOD)
    (tmp_path / "gradcheck_b.py").write_text(GOOD.replace("2 * x", "x"))

    def run(script: str, **env: str) -> subprocess.CompletedProcess[str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
            cwd=tmp_path, env={**os.environ, "PATH": path, **env}, capture_output=True,
            text=True, check=False,
        )  # fmt: skip

    return run


def test_the_action_runs_what_it_is_given(shell: Any, tmp_path: Path) -> None:
    install, verify = ACTION["runs"]["steps"]
    assert install["run"].endswith('"$GITHUB_ACTION_PATH"')
    assert set(verify["env"]) == {name.upper() for name in ACTION["inputs"]}
    for name, value in verify["env"].items():
        assert value == f"${{{{ inputs.{name.lower()} }}}}"
    assert "inputs." not in verify["run"], "an input pasted into a script could run anything"
    env = {"TARGETS": "gradcheck_a.py", "OPTIONS": "", "REPORT": ""}
    assert shell(verify["run"], **env).returncode == 0
    done = shell(verify["run"], **{**env, "TARGETS": "gradcheck_*.py"})
    assert done.returncode == 1
    assert done.stdout.count("::error file=") == 1
    done = shell(verify["run"], **{**env, "TARGETS": "gradcheck_*.py", "REPORT": "r.json"})
    assert done.returncode == 1
    assert json.loads((tmp_path / "r.json").read_text())["verdict"] == "fail"
    assert "::error file=" in done.stderr
    done = shell(verify["run"], **{**env, "TARGETS": "a.py; touch pwned"})
    assert done.returncode == 2
    assert not (tmp_path / "pwned").exists()


def test_the_hook_takes_the_files_it_names(shell: Any) -> None:
    assert re.search(HOOK["files"], "src/gradcheck_lstm.py")
    assert not re.search(HOOK["files"], "src/lstm.py")
    command = [*shlex.split(HOOK["entry"]), "gradcheck_a.py", "gradcheck_b.py"]
    done = shell(shlex.join(command))
    assert done.returncode == 1
    assert "repeat: gradcheck-rnn verify gradcheck_b.py:mine" in done.stdout
    assert shell(shlex.join(command[:-1])).returncode == 0


def test_the_three_lines_of_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (lines,) = re.findall(r"```yaml\n(- uses: .*?)```", readme, flags=re.S)
    assert len(lines.strip().splitlines()) == 3
    (step,) = yaml.safe_load(lines)
    assert set(step["with"]) <= set(ACTION["inputs"])


def test_the_workflow_of_the_guide_is_whole(shell: Any) -> None:
    guide = (ROOT / "docs" / "verifying.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```yaml\n(# \.github/workflows/.*?)```", guide, flags=re.S)
    flow = yaml.safe_load(text)
    assert set(flow) == {"name", True, "permissions", "jobs"}  # YAML 1.1 reads "on" as true
    (job,) = flow["jobs"].values()
    checked_out, tool, python, install, verify = job["steps"]
    own = WORKFLOWS["tests.yml"]["jobs"]["tests"]["steps"]
    known = {step.get("uses") for step in own}
    assert {step["uses"] for step in (checked_out, tool, python)} <= known
    assert install["run"].split("#")[0].split()[-1] == f"./{tool['with']['path']}"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    least = project["requires-python"].removeprefix(">=")
    assert python["with"]["python-version"].split(".") >= least.split(".")
    done = shell(verify["run"])
    assert done.returncode == 1
    assert done.stdout.count("::error file=") == 1


WORKFLOWS = {p.name: yaml.safe_load(p.read_text()) for p in ROOT.glob(".github/workflows/*.yml")}
TEMPLATES = sorted(ROOT.glob(".github/ISSUE_TEMPLATE/*.yml"))


def test_the_matrix_has_what_pyproject_promises() -> None:
    matrix = WORKFLOWS["tests.yml"]["jobs"]["tests"]["strategy"]["matrix"]
    assert matrix["python"] == ["3.11", "3.12", "3.13", "3.14"]
    assert {row["os"].partition("-")[0] for row in matrix["include"]} == {
        "ubuntu", "macos", "windows",
    }  # fmt: skip
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lowest = project["requires-python"].removeprefix(">=")
    assert {"os": "ubuntu-latest", "python": lowest, "versions": "lowest"} in matrix["include"]


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_asks_for_no_more_rights_than_it_needs(name: str) -> None:
    flow = WORKFLOWS[name]
    assert flow["permissions"] == {"contents": "read"}
    made = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), flags=re.M)
    for job in flow["jobs"].values():
        for step in job["steps"]:
            script = step.get("run", "")
            assert "${{ github.event" not in script, "an event's text pasted into a script"
            assert set(re.findall(r"\bmake (\w+)", script)) <= set(made)


def test_issue_templates_ask_for_the_replay_command() -> None:
    forms = [p for p in TEMPLATES if p.name != "config.yml"]
    assert len(forms) == 2
    for path in forms:
        fields = {f.get("id"): f for f in yaml.safe_load(path.read_text())["body"]}
        assert fields["replay"]["validations"]["required"]
        assert fields["replay"]["attributes"]["placeholder"].count("gradcheck-rnn") == 1


def test_the_citation_is_of_this_version() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["version"] == __version__
    assert cited["license"] == "BSD-3-Clause"


def test_the_source_distribution_has_what_the_tests_read() -> None:
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    taken = {name.strip("/") for name in tool["hatch"]["build"]["targets"]["sdist"]["include"]}
    assert all((ROOT / name).exists() for name in taken)
    roots = r'(?:ROOT|parents\[\d\]|parent\.parent|PACKAGE\.parent)\)? / "([\w.]+)"'
    modules = r"^(?:from|import) (benchmarks|examples|reports|derivations)\b"
    read = set()
    for path in (ROOT / "tests").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        read |= set(re.findall(roots, text)) | set(re.findall(modules, text, flags=re.M))
    assert {"docs", "examples", "benchmarks", "derivations"} <= read
    assert read - {"tests", "pyproject.toml"} <= taken
