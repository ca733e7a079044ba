"""Pin what serving needs with all that it brings along: ``bento/requirements/*.in`` to ``*.txt``.

python scripts/pin_serving.py
"""

import json
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
REQUIREMENTS = REPOSITORY / "bento" / "requirements"


def pinned(requirements: Path) -> list[str]:
    """``name==version`` of everything that pip would install for a requirements file, in alphabetical order."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", "--report", "-"]
    command += ["-c", str(REPOSITORY / "constraints.txt"), "-r", str(requirements)]
    report = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    found = [package["metadata"] for package in report["install"]]
    return sorted((f"{package['name']}=={package['version']}" for package in found), key=str.lower)


for file in sorted(REQUIREMENTS.glob("*.in")):
    lines = [f"# Made from {file.name} and constraints.txt by scripts/{Path(__file__).name}.", *pinned(file)]
    file.with_suffix(".txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{file.with_suffix('.txt').relative_to(REPOSITORY)}: {len(lines) - 1} packages")
