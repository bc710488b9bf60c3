"""Chunks over executors: each result once, whatever dies on the way."""

from __future__ import annotations

import collections
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gradcheck_rnn.errors import UsageError
from gradcheck_rnn.verify.executor_chunks import Crash, RemoteError, run_chunks
from gradcheck_rnn.verify.pools import Borrowed, Cluster, Processes

# Functions that run in workers are imported there by name, and tests are not a package there.
WORK = """\
import os, signal, time

def double(chunk):
    return 2 * chunk, os.getpid()

def die_once(chunk):
    folder, number, deadly = chunk
    with open(os.path.join(folder, "ran"), "a") as f:
        f.write(f"{number}\\n")
    if number == deadly:
        try:
            os.close(os.open(os.path.join(folder, "died"), os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return number
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.02)
    return number

def die_always(number):
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.02)
    return number

def sleep_long(seconds):
    time.sleep(seconds)

def threads(_):
    import numpy, threadpoolctl
    numpy.ones((8, 8)) @ numpy.ones((8, 8))
    return sorted(pool["num_threads"] for pool in threadpoolctl.threadpool_info()), dict(
        (k, os.environ.get(k)) for k in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"))

def misuse(number):
    from gradcheck_rnn.errors import DimensionError
    raise DimensionError(f"chunk {number} does not fit")

def ours(number):
    return [][number]

def users(path):
    from gradcheck_rnn.loading import run_file
    return run_file(path).gradient()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("work")
    (path / "chunkwork.py").write_text(WORK, encoding="utf-8")
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(path)
    sys.path.insert(0, str(path))
    yield path
    sys.path.remove(str(path))
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before


def test_results_come_in_order_and_progress_once_each(folder: Path) -> None:
    import chunkwork

    seen: list[int] = []
    pool = Processes(2)
    results = run_chunks(
        chunkwork.double, list(range(20)), pool, on_done=lambda index, _: seen.append(index)
    )
    assert [r[0] for r in results] == [2 * n for n in range(20)]
    assert os.getpid() not in {r[1] for r in results}
    assert sorted(seen) == list(range(20))


def test_any_executor_will_do(folder: Path) -> None:
    import chunkwork

    with ThreadPoolExecutor(3) as executor:
        results = run_chunks(chunkwork.double, [1, 2, 3], Borrowed(executor))
        assert [r[0] for r in results] == [2, 4, 6]
        assert executor.submit(int).result() == 0, "a borrowed executor stays open"


def test_a_worker_killed_half_way_loses_nothing_and_counts_nothing_twice(
    folder: Path, tmp_path: Path
) -> None:
    import chunkwork

    seen: list[int] = []
    chunks = [(str(tmp_path), n, 9) for n in range(24)]
    results = run_chunks(
        chunkwork.die_once, chunks, Processes(2), on_done=lambda index, _: seen.append(index)
    )
    assert (tmp_path / "died").exists(), "the fault was planted"
    assert results == list(range(24))
    assert sorted(seen) == list(range(24))
    ran = collections.Counter((tmp_path / "ran").read_text().split())
    assert ran["9"] >= 2, "what the dead worker had in hand was run again"


def test_a_chunk_that_always_kills_is_told_from_its_neighbours(folder: Path) -> None:
    import chunkwork

    results = run_chunks(chunkwork.die_always, list(range(8)), Processes(2))
    assert isinstance(results[3], Crash)
    assert results[3].times >= 2
    assert [r for i, r in enumerate(results) if i != 3] == [0, 1, 2, 4, 5, 6, 7]


def test_blas_threads_are_pinned_in_workers_and_only_there(folder: Path) -> None:
    pytest.importorskip("threadpoolctl", reason="threadpoolctl tells the number of threads")
    import chunkwork

    before = os.environ.get("OPENBLAS_NUM_THREADS")
    for counts, environment in run_chunks(chunkwork.threads, [0, 1], Processes(2)):
        assert set(counts) <= {1}
        assert set(environment.values()) == {"1"}
    assert os.environ.get("OPENBLAS_NUM_THREADS") == before


def test_errors_cross_the_border(folder: Path, tmp_path: Path) -> None:
    import chunkwork

    with pytest.raises(UsageError, match="chunk 7 does not fit"):
        run_chunks(chunkwork.misuse, [7], Processes(1))
    with pytest.raises(RuntimeError, match="IndexError") as caught:
        run_chunks(chunkwork.ours, [7], Processes(1))
    assert "chunkwork.py" in str(caught.value)
    path = tmp_path / "mine.py"
    path.write_text("def gradient():\n    return 1 / 0\n", encoding="utf-8")
    with pytest.raises(RemoteError, match="ZeroDivisionError") as user:
        run_chunks(chunkwork.users, [str(path)], Processes(1))
    assert user.value.traceback.count('File "') == 1
    assert "mine.py" in user.value.traceback


def test_a_script_without_the_main_guard_is_not_run_again_by_its_workers(tmp_path: Path) -> None:
    (tmp_path / "careless.py").write_text(
        "from gradcheck_rnn.verify.executor_chunks import run_chunks\n"
        "from gradcheck_rnn.verify.pools import Processes\n"
        "print(run_chunks(abs, [-1, -2], Processes(1)))\n",
        encoding="utf-8",
    )
    done = subprocess.run(
        [sys.executable, "careless.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "[1, 2]\n", "")


def test_workers_that_cannot_start_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(UsageError, match="worker processes end when they start"):
        run_chunks(abs, [-1, -2], Processes(1))


def test_a_negative_number_of_jobs() -> None:
    with pytest.raises(UsageError, match="--jobs -1 must not be negative"):
        Processes(-1)


# -- a cluster ------------------------------------------------------------------------------------


@contextlib.contextmanager
def started(folder: Path, where: Path) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """A scheduler and two workers as a user would start them, each a process of its own."""
    # The scheduler picks its port: one that is free now may be another test's a moment later.
    file = where / "scheduler.json"
    env = {**os.environ, "PYTHONPATH": str(folder)}
    dask = [sys.executable, "-m", "dask"]
    commands = [
        [*dask, "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard",
         "--dashboard-address", ":0", "--scheduler-file", str(file)],
        *[[*dask, "worker", "--scheduler-file", str(file), "--nthreads", "1", "--no-dashboard",
           "--death-timeout", "60", "--local-directory", str(where)] for _ in range(2)],
    ]  # fmt: skip
    with contextlib.ExitStack() as stack:
        log = stack.enter_context((where / "log").open("w"))
        running = [
            stack.enter_context(
                subprocess.Popen(
                    c, env=env, stdout=log, stderr=log, cwd=where, start_new_session=True
                )
            )
            for c in commands
        ]
        try:
            yield address_in(file), running
        finally:
            kill(running)


def address_in(file: Path) -> str:
    """What the scheduler writes once it listens."""
    for _ in range(600):
        with contextlib.suppress(OSError, ValueError):
            return str(json.loads(file.read_text())["address"])
        time.sleep(0.1)
    pytest.fail("the scheduler did not start within a minute")


def kill(processes: list[subprocess.Popen[bytes]]) -> None:
    """End processes with those they started (a nanny's worker), by their group."""
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def cluster(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    pytest.importorskip("distributed", reason="needs Dask: pip install 'gradcheck-rnn[dask]'")
    with started(folder, tmp_path_factory.mktemp("cluster")) as (address, _):
        yield address


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def test_a_cluster_runs_chunks_and_survives_a_dead_worker(
    cluster: str, folder: Path, tmp_path: Path
) -> None:
    import chunkwork

    chunks = [(str(tmp_path), n, 5) for n in range(16)]
    seen: list[int] = []
    results = run_chunks(
        chunkwork.die_once, chunks, Cluster(cluster, 30), lambda index, _: seen.append(index)
    )
    assert (tmp_path / "died").exists(), "the fault was planted"
    assert results == list(range(16))
    assert sorted(seen) == list(range(16))


def test_a_plan_on_a_cluster_is_the_plan_here(cluster: str, tmp_path: Path) -> None:
    from gradcheck_rnn import api

    here = api.verify_many(["linear", "readout"])
    there = api.verify_many(["linear", "readout"], pool=Cluster(cluster, 30))
    assert [[r.title for r in v] for v in there] == [[r.title for r in v] for v in here]
    assert all(v.passed for v in there)
    mine = tmp_path / "mine.py"
    mine.write_text(
        "from gradcheck_rnn import gradient_case\n\n@gradient_case\ndef mine():\n"
        "    return lambda x: (x**2).sum(), lambda x: x, 1.5\n"
    )
    (done,) = api.verify_many([str(mine)], pool=Cluster(cluster, 30))
    assert str(done.verdict) == "fail"


def test_a_cluster_passes_misuse_on(cluster: str, folder: Path) -> None:
    import chunkwork

    with pytest.raises(UsageError, match="chunk 7 does not fit"):
        run_chunks(chunkwork.misuse, [7], Cluster(cluster, 30))


def test_a_cluster_that_does_not_answer_is_one_line() -> None:
    pytest.importorskip("distributed", reason="needs Dask: pip install 'gradcheck-rnn[dask]'")
    address = f"tcp://127.0.0.1:{free_port()}"
    start = time.perf_counter()
    with pytest.raises(UsageError, match=f"the cluster at {address} does not answer") as caught:
        Cluster(address, 0.5)
    assert time.perf_counter() - start < 10
    assert "\n" not in str(caught.value)


def test_without_dask_the_way_out_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UsageError, match=r"pip install 'gradcheck-rnn\[dask\]'"):
        Cluster("tcp://127.0.0.1:1")


def test_a_cluster_whose_workers_are_all_gone_is_one_line(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason="needs Dask: pip install 'gradcheck-rnn[dask]'")
    import threading

    import chunkwork

    with started(folder, tmp_path) as (address, (_, *workers)):
        pool = Cluster(address, 30)
        pool.patience = 1.0
        timer = threading.Timer(0.5, kill, [workers])
        timer.start()
        with pytest.raises(UsageError, match="has no worker left, or is gone"):
            run_chunks(chunkwork.sleep_long, [120], pool)
        timer.join()
