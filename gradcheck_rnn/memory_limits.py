"""What memory a request would need, said before it is allocated."""

from __future__ import annotations

from pathlib import Path

from gradcheck_rnn.errors import UsageError

__all__ = ["available", "check_memory", "readable"]

_CGROUP = Path("/sys/fs/cgroup")


def available() -> int | None:
    """Bytes that this process may still allocate; None where the system does not say.

    The least of the machine's free memory, what is left of the control group's limit and of the
    limit on this process's address space.
    """
    found = [n for n in (_of_machine(), _of_group(), _of_process()) if n is not None]
    return min(found) if found else None


def _of_machine() -> int | None:
    return _line(Path("/proc/meminfo"), "MemAvailable:")


def _of_group() -> int | None:
    try:
        limit = (_CGROUP / "memory.max").read_text().strip()
        used = (_CGROUP / "memory.current").read_text().strip()
    except OSError:
        return None
    return max(int(limit) - int(used), 0) if limit.isdigit() and used.isdigit() else None


def _of_process() -> int | None:
    try:
        import resource
    except ImportError:  # not a Unix
        return None
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    used = _line(Path("/proc/self/status"), "VmSize:")
    return None if limit == resource.RLIM_INFINITY or used is None else max(limit - used, 0)


def _line(path: Path, key: str) -> int | None:
    """A number of kB in a file of lines ``key: number kB``, as bytes."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith(key):
            return int(line.split()[1]) * 1024
    return None


def readable(count: int) -> str:
    """Bytes as a person reads them: ``3.2 GiB``."""
    units = ("B", "KiB", "MiB", "GiB", "TiB")
    power = min(max(count.bit_length() - 1, 0) // 10, len(units) - 1)
    whole = count // 1024**power
    if whole >= 10**6:
        return f"10^{len(str(whole)) - 1} {units[power]}"
    return (
        f"{count / 1024**power:.3g} {units[power]}" if whole < 1000 else f"{whole} {units[power]}"
    )


def check_memory(need: int, what: str, way_out: str) -> None:
    """Refuse what does not fit into memory.

    Parameters
    ----------
    need : int
        Bytes, of any size.
    what : str
        What needs them, as the subject of a sentence.
    way_out : str
        What to do instead.

    Raises
    ------
    UsageError
        `need` is more than `available`.
    """
    free = available()
    if free is not None and need > free:
        raise UsageError(
            f"{what} would need about {readable(need)} of memory, {readable(free)} are free; "
            f"{way_out}"
        )
