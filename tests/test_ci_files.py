"""The files that other projects' CI reads: the action's script and the hook's entry are run."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

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
