"""What every benchmark writes: its figures, and the machine, versions and command that they were had with."""

import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from lit_rec import __version__
from lit_rec.core.files import write_json

REPOSITORY = Path(__file__).parents[2]
RESULTS = REPOSITORY / "results" / "benchmarks"


def save(file: Path, packages: list[str], figures: Mapping[str, object]) -> None:
    """Write the figures of a run, whole or not at all.

    Args:
        file: JSON to write; its folder is made.
        packages: those whose versions matter to the figures.
        figures: what was measured.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    record = {
        "benchmark": Path(sys.argv[0]).name,
        "command": shlex.join(["python", *sys.argv]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "machine": machine(),
        "versions": {
            "python": platform.python_version(),
            "lit_rec": __version__,
            **{name: version(name) for name in packages},
        },
        **figures,
    }
    write_json(file, record, indent=2)
    print(f"The figures are in {file}")


def machine() -> dict[str, object]:
    """Processor, cores, memory in GB, and the load of the last minute: above 0 others were at work too."""
    return {
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "load": round(os.getloadavg()[0], 2),
    }


def _processor() -> str:
    cpu_info = Path("/proc/cpuinfo")
    lines = cpu_info.read_text(encoding="utf-8").splitlines() if cpu_info.exists() else []
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())


def _commit() -> str:
    """The commit of the code, ``+`` where files were changed since."""
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty=+"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    return described.stdout.strip()
