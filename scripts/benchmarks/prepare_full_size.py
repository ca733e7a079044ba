"""``prepare`` at Kaggle's full size: 206,209 users, 3.4 M orders, 34 M order lines, 49,688 products.

Measures seconds, peak resident memory and size on disk of ``python -m lit_rec prepare`` as a process of its own,
and holds them against the limits of this project: 6 minutes and 8 GB. The peer is the Instacart seed's
preparation script (prepare_instacart_sbert.py), which cannot be run here at this size: it filters all prior rows
anew for each target order, 15 ms x 131,209 orders = 33 minutes, and its README states 8 GB of memory. The data are
made up by :mod:`lit_rec.data.sources.synthetic` (half a minute), since Kaggle's files may not be passed on; name a
folder of those to measure with them.

    python scripts/benchmarks/prepare_full_size.py
    python scripts/benchmarks/prepare_full_size.py --targets rolling --rolling_targets 4

Where the time and the memory go is in the table: each line the process printed, when it did, and its peak memory up
to then. Resident memory counts pages of memory-mapped files too, so it is an upper bound.
"""

import os
import subprocess
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

from benchmark_record import RESULTS, save
from jsonargparse import auto_cli
from rich.console import Console
from rich.table import Table

from lit_rec.core.files import read_json
from lit_rec.core.schema import PARAMS
from lit_rec.data.processed import find_processed_folder
from lit_rec.data.sources import synthetic

SECONDS_LIMIT, GB_LIMIT = 360, 8
_COUNTS = ("n_users", "n_train_orders", "n_train_pairs", "n_eval_queries", "n_eval_pairs", "n_corpus")


def main(
    data_dir: Path = Path("/tmp/full_instacart"),
    targets: Literal["last", "rolling"] = "last",
    rolling_targets: int = 4,
    n_users: int = 206_209,
    n_products: int = 49_688,
    json_file: Path | None = None,
) -> None:
    """Measure one run of prepare.

    Args:
        data_dir: folder of the raw files; generated when it is not there.
        targets: as of prepare.
        rolling_targets: as of prepare.
        n_users: users to generate.
        n_products: products to generate.
        json_file: where the figures go; by default results/benchmarks/prepare_full_size[_rolling].json.
    """
    if not data_dir.exists():
        print(f"Generating {n_users:,} users in {data_dir}")
        _generate(data_dir, n_users, n_products)
    with tempfile.TemporaryDirectory(prefix="lit_rec_prepare_") as output_dir:
        command = [sys.executable, "-m", "lit_rec", "prepare", "--data_dir", str(data_dir), "--output_dir", output_dir]
        command += ["--targets", targets, "--rolling_targets", str(rolling_targets)]
        figures = _measure(command)
        folder = find_processed_folder(Path(output_dir))
        params: dict[str, Any] = read_json(folder / PARAMS)
        sizes = [file.stat().st_size for file in folder.rglob("*") if file.is_file()]
    figures |= {"gb_on_disk": round(sum(sizes) / 1e9, 2), "counts": {name: params[name] for name in _COUNTS}}
    figures |= {"limits": {"seconds": SECONDS_LIMIT, "peak_gb": GB_LIMIT}}
    _print(figures)
    name = f"prepare_full_size{'_rolling' if targets == 'rolling' else ''}.json"
    save(json_file or RESULTS / name, ["datasets", "numpy", "polars", "pyarrow"], figures)


def _generate(data_dir: Path, n_users: int, n_products: int) -> None:
    """In a process of its own: a child's peak memory on Linux begins with that of its parent."""
    settings = {"n_users": n_users, "n_products": n_products, "seed": 0}
    process = get_context("spawn").Process(target=synthetic.generate, args=(data_dir,), kwargs=settings)
    process.start()
    process.join()
    if process.exitcode != 0:
        sys.exit("The data could not be generated")


def _measure(command: list[str]) -> dict[str, Any]:
    """Run a command; its seconds, its peak memory with that of its children, and what it printed when."""
    begin = time.perf_counter()
    timeline: list[dict[str, Any]] = []
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "160"}
    # Not waited for by Popen, which would keep the resource usage to itself.
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip():
            second = round(time.perf_counter() - begin, 1)
            timeline.append({"second": second, "peak_gb_so_far": _peak_gb(process.pid), "line": line.strip()[:100]})
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit("\n".join(entry["line"] for entry in timeline[-20:]))
    kilobyte = 1 if sys.platform == "darwin" else 1024
    return {
        "seconds": round(seconds, 1),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_gb": round(usage.ru_maxrss * kilobyte / 1e9, 2),
        "timeline": timeline,
    }


def _peak_gb(pid: int) -> float | None:
    """Highest resident memory of a running process so far; None where the system does not say."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return None
    fields = dict(line.split(":", 1) for line in status.splitlines())
    return round(int(fields["VmHWM"].split()[0]) * 1024 / 1e9, 2) if "VmHWM" in fields else None


def _print(figures: dict[str, Any]) -> None:
    console = Console()
    stages = Table(title="What prepare printed, when", title_justify="left")
    stages.add_column("second", justify="right", min_width=6)
    stages.add_column("peak GB", justify="right", min_width=7)
    stages.add_column("line", overflow="fold")
    for entry in figures["timeline"]:
        peak = entry["peak_gb_so_far"]
        stages.add_row(f"{entry['second']:.1f}", "" if peak is None else f"{peak:.2f}", entry["line"])
    console.print(stages)
    table = Table(title="prepare at full size", title_justify="left")
    for name in ("", "measured", "limit"):
        table.add_column(name, justify="left" if not name else "right")
    table.add_row("seconds", f"{figures['seconds']:.1f}", f"{SECONDS_LIMIT}")
    table.add_row("of processor, all cores", f"{figures['cpu_seconds']:.1f}", "")
    table.add_row("peak resident GB", f"{figures['peak_gb']:.2f}", f"{GB_LIMIT}")
    table.add_row("GB on disk", f"{figures['gb_on_disk']:.2f}", "")
    for name, count in figures["counts"].items():
        table.add_row(name, f"{count:,}", "")
    console.print(table)


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
