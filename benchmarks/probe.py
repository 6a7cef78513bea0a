"""Read CPU, memory, descriptors and files of a process from ``/proc``."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from dataclasses import dataclass
from pathlib import Path

MB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One look."""

    at_s: float
    tasks_done: int
    rss_mb: float
    pss_mb: float
    private_dirty_mb: float
    descriptors: int
    threads: int
    children: int
    cpu_s: float
    state_mb: float
    """Everything in the worker's directory but the journals; its database is part of it."""
    journals_mb: float
    printed_mb: float
    outbox_rows: int


def look(pid: int, run_dir: Path, *, at_s: float, tasks_done: int) -> Sample:
    """Look at a worker whose files lie in ``place/state``.

    Raises:
        OSError: it is gone.
    """
    proc = Path("/proc", str(pid))
    status = _fields(proc / "status")
    rollup = _fields(proc / "smaps_rollup")
    ticks = (proc / "stat").read_text().rpartition(")")[2].split()
    files = [
        Path(folder, name) for folder, _, names in os.walk(run_dir / "state") for name in names
    ]
    journals = [path for path in files if path.suffix == ".jsonl"]
    journals_mb = _size_mb(journals)
    return Sample(
        at_s=round(at_s, 2),
        tasks_done=tasks_done,
        rss_mb=status["VmRSS"] / 1024,
        pss_mb=rollup["Pss"] / 1024,
        private_dirty_mb=rollup["Private_Dirty"] / 1024,
        descriptors=len(os.listdir(proc / "fd")),  # noqa: PTH208 - names are all that is wanted
        threads=status["Threads"],
        children=len((proc / "task" / str(pid) / "children").read_text().split()),
        cpu_s=(int(ticks[11]) + int(ticks[12])) / os.sysconf("SC_CLK_TCK"),
        state_mb=_size_mb(files) - journals_mb,
        journals_mb=journals_mb,
        printed_mb=_printed_bytes(run_dir) / MB,
        outbox_rows=outbox_rows(run_dir),
    )


def _fields(path: Path) -> dict[str, int]:
    """Return the numbers of a file of lines like ``Name:  12 kB``."""
    lines = (line.replace(":", " ").split() for line in path.read_text().splitlines())
    return {words[0]: int(words[1]) for words in lines if len(words) > 1 and words[1].isdigit()}


def _size_mb(paths: list[Path]) -> float:
    size = 0
    for path in paths:
        try:
            size += path.stat().st_size
        except OSError:  # gone meanwhile
            continue
    return size / MB


def _printed_bytes(run_dir: Path) -> int:
    notes = [path.read_text().split() for path in (run_dir / "printed").iterdir()]
    return sum(int(words[1]) for words in notes if len(words) == 2)


def outbox_rows(run_dir: Path) -> int:
    """Count the writes that wait in a running worker's outbox; -1 if they cannot be seen just now.

    The worker has its database for itself, so a copy of the files is looked at.
    """
    (database,) = (run_dir / "state").glob("*/worker.sqlite")
    with tempfile.TemporaryDirectory() as copy:
        for suffix in ("", "-wal"):
            source = database.with_name(database.name + suffix)
            if source.exists():
                shutil.copyfile(source, Path(copy, "copy.sqlite" + suffix))
        connection = sqlite3.connect(Path(copy, "copy.sqlite"))
        try:
            ((rows,),) = connection.execute("SELECT count(*) FROM outbox").fetchall()
        except sqlite3.DatabaseError:  # copied in the middle of a checkpoint
            return -1
        finally:
            connection.close()
    return int(rows)
