"""Run the service's image as an orchestrator would, and measure it; needs podman.

    python scripts/container_check.py IMAGE --base BASE --name onnx --json results/container.json

Read-only root, a user without rights, a tmpfs for what is written. Waits for /ready, asks for recommendations, stops
the container with requests in flight and fails unless each of them is answered.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))
from benchmark_record import machine

from lit_rec.core.files import read_json, write_json

PODMAN = ["podman", "--runtime", "runc", "--cgroup-manager", "cgroupfs"]
CONTEXT = "; ".join(f"[+{day}d w{day % 7}h9] Milk, Bread, Eggs, Bananas" for day in range(1, 6)) + "."
BODY = {"user_context": CONTEXT, "top_k": 10}
N_TIMED, N_IN_FLIGHT = 50, 24


def podman(*words: str) -> str:
    """What a command of podman prints."""
    return subprocess.run([*PODMAN, *words], check=True, capture_output=True, text=True).stdout.strip()


def wait_until_ready(container: str, url: str, seconds: float = 120) -> float:
    """Seconds until /ready says 200."""
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        try:
            if httpx.get(f"{url}/ready", timeout=5).status_code == 200:
                return time.perf_counter() - began
        except httpx.TransportError:
            if podman("inspect", "--format", "{{.State.Running}}", container) != "true":
                raise SystemExit("the container has ended") from None
        time.sleep(0.05)
    raise SystemExit(f"{url}/ready has not said 200 in {seconds} s")


def recommend(url: str) -> httpx.Response:
    """One request by text."""
    return httpx.post(f"{url}/recommend", json=BODY, timeout=30)


def resident_mb(container: str) -> float:
    """Proportional resident memory of all processes of a container, in MB."""
    pids = podman("top", container, "hpid").split()[1:]
    kilobytes = 0
    for pid in pids:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines()
        kilobytes += next(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
    return round(kilobytes / 1e3, 1)


def check_rights(container: str) -> dict[str, Any]:
    """The user's id, and that the root file system takes no file."""
    user = int(podman("exec", container, "id", "-u"))
    written = subprocess.run(
        [*PODMAN, "exec", container, "touch", "/home/bentoml/written"], check=False, capture_output=True
    )
    if user == 0 or written.returncode == 0:
        raise SystemExit(f"user {user} can write" if user else "the service runs as root")
    return {"user_id": user, "read_only": True}


def stop_in_flight(container: str, url: str) -> dict[str, Any]:
    """Send SIGTERM while requests are being answered; each must get its answer."""
    together = threading.Barrier(N_IN_FLIGHT)

    def ask() -> int:
        with httpx.Client(base_url=url, timeout=60) as client:
            client.get("/health")  # connects
            together.wait()
            return client.post("/recommend", json=BODY).status_code

    with ThreadPoolExecutor(N_IN_FLIGHT) as pool:
        asked = [pool.submit(ask) for _ in range(N_IN_FLIGHT)]
        wait(asked, return_when=FIRST_COMPLETED)
        in_flight = sum(not future.done() for future in asked)
        began = time.perf_counter()
        podman("kill", "--signal", "TERM", container)
        statuses = [future.result() for future in asked]
    code = int(podman("wait", container))
    if set(statuses) != {200} or not in_flight:
        raise SystemExit(f"{in_flight} were in flight; the answers: {statuses}")
    return {
        "requests_in_flight": in_flight,
        "answered": len(statuses),
        "seconds": round(time.perf_counter() - began, 2),
        "exit_code": code,
    }


def check(image: str, port: int) -> dict[str, Any]:
    """Run an image and measure it."""
    url = f"http://127.0.0.1:{port}"
    limits = ["--ulimit", "nofile=4096:4096", "--ulimit", "nproc=4096:4096"]
    writable = ["--tmpfs", "/tmp", "-e", "BENTOML_HOME=/tmp/bentoml", "-e", "LIT_REC_FEEDBACK_DB_PATH=/tmp/feedback.db"]
    container = podman("create", "--read-only", *writable, *limits, "-p", f"{port}:3000", image)
    try:
        podman("start", container)
        found: dict[str, Any] = {
            "seconds_to_ready": round(wait_until_ready(container, url), 2),
            **check_rights(container),
        }
        answer = recommend(url)
        answer.raise_for_status()
        found["model_version"] = answer.json()["model_version"]
        times = [recommend(url).elapsed.total_seconds() * 1e3 for _ in range(N_TIMED)]
        found["recommend_ms"] = {"median": round(statistics.median(times), 1), "largest": round(max(times), 1)}
        found["resident_mb"] = resident_mb(container)
        found["sigterm"] = stop_in_flight(container, url)
    except BaseException:
        print(podman("logs", container), file=sys.stderr)
        raise
    finally:
        podman("rm", "-f", container)
    return found


def main() -> None:
    """Check, and write the row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("image")
    parser.add_argument("--base", required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--port", type=int, default=3400)
    parser.add_argument("--json", type=Path, required=True)
    args = parser.parse_args()
    sizes = {
        f"{kind}_mb": round(int(podman("image", "inspect", "--format", "{{.Size}}", name)) / 1e6, 1)
        for kind, name in (("image", args.image), ("base_image", args.base))
    }
    row = {
        **sizes,
        **check(args.image, args.port),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
    }
    rows = read_json(args.json) if args.json.is_file() else {}
    write_json(args.json, rows | {args.name: row}, indent=2)
    print(json.dumps(row, indent=2))


if __name__ == "__main__":
    os.environ.setdefault("NO_PROXY", "127.0.0.1")
    main()
