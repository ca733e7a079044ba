r"""Latency of /recommend, by context and by history, beside a plain FastAPI handler that encodes as it is asked.

The peer is what a service looks like without queue and threads: FastAPI, ``SentenceTransformer.encode`` in a plain
handler, cosine and top k in numpy over the same product embeddings. The service is
served by ``bentoml serve`` as it comes, the peer by uvicorn, without any thread settings of the shell's; they are asked
in turn, so that whatever else the machine does is shared between them::

    python scripts/benchmarks/service_latency.py --model_dir models/quickstart/final \
        --corpus processed/complete_journey_p5_mp20_ef0.3_roll4/eval_corpus.json --clients 1 4 16

A caller who is refused (503) asks again at once: ``refused`` counts these, ``refused_p50_ms`` says how soon they knew.

Asked by: ``context``, held-out contexts (a model with a ranker ranks them as histories); ``history``, the same orders
as structured history; ``words``, the same contexts in a form that names no order, so that they have to be encoded.
On a machine with other work ``cpu_ms_per_request``, of the server's processes, says more than requests a second.
"""

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
from benchmark_record import RESULTS, save
from rich.progress import track

from lit_rec.core import schema
from lit_rec.inference.recommender import Recommender

_ROOT = Path(__file__).parents[2]
_OURS = [str(Path(sys.executable).with_name("bentoml")), "serve", str(_ROOT), "--host", "127.0.0.1", "--port"]
_PEER = [
    sys.executable,
    "-c",
    """
import json, os, sys, uvicorn
import numpy as np
from fastapi import FastAPI
from pydantic import BaseModel
from sentence_transformers import SentenceTransformer

model = SentenceTransformer(os.environ["LIT_REC_MODEL_DIR"], device="cpu")
with open(os.environ["LIT_REC_CORPUS_PATH"], encoding="utf-8") as file:
    corpus = json.load(file)
ids, texts = list(corpus), list(corpus.values())
products = np.load(os.environ["EMBEDDINGS"])
app = FastAPI()

class Body(BaseModel):
    user_context: str
    top_k: int = 10

@app.get("/ready")
def ready():
    return {}

@app.post("/recommend")
def recommend(body: Body):
    scores = products @ model.encode([body.user_context], normalize_embeddings=True)[0]
    best = np.argpartition(-scores, body.top_k)[: body.top_k]
    best = best[np.argsort(-scores[best])]
    return [{"product_id": ids[row], "score": float(scores[row]), "product_text": texts[row]} for row in best]

uvicorn.run(app, port=int(sys.argv[1]), log_config=None)
""",
]
_OF_THE_SHELL = {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"}
Bodies = list[dict[str, Any]]


@dataclass
class Measured:
    """Seconds of one server, way of asking and number of clients: of each request, and of the server's processors."""

    answered: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    cpu: float = 0.0


def main() -> None:
    """Measure both and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_dir", type=Path, required=True)
    parser.add_argument("--corpus", type=Path, required=True, help="eval_corpus.json; eval_queries.json lies beside it")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--seconds", type=float, default=5.0, help="of each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--asked_by", nargs="+", choices=["context", "history", "words"], help="by default all")
    parser.add_argument("--json", type=Path, default=RESULTS / "service_latency.json", help="the figures go here")
    chosen = parser.parse_args()
    recommender = Recommender(chosen.model_dir, chosen.corpus)
    bodies = _bodies(recommender, chosen.corpus.with_name(schema.EVAL_QUERIES))
    kinds = {kind: bodies[kind] for kind in chosen.asked_by or bodies}
    with tempfile.TemporaryDirectory() as folder:
        embeddings = Path(folder) / "embeddings.npy"
        np.save(embeddings, recommender.index.embeddings)
        settings = {
            "LIT_REC_MODEL_DIR": str(chosen.model_dir.resolve()),
            "LIT_REC_CORPUS_PATH": str(chosen.corpus.resolve()),
            "LIT_REC_FEEDBACK_DB_PATH": f"{folder}/feedback.db",
            "LIT_REC_RATE_LIMIT": "off",
            "LIT_REC_LOG_LEVEL": "WARNING",
            "BENTOML_HOME": f"{folder}/bentoml",
            "BENTOML_DO_NOT_TRACK": "True",
            "EMBEDDINGS": str(embeddings),
        }
        with _served(_OURS, settings) as ours, _served(_PEER, settings) as peer:
            asked = [("service", ours, kind) for kind in kinds]
            asked += [("plain handler", peer, "context")] * ("context" in kinds)
            turns = [(one, clients) for _ in range(chosen.rounds) for clients in chosen.clients for one in asked]
            found: defaultdict[tuple[str, str, int], Measured] = defaultdict(Measured)
            for (server, (url, process), kind), clients in track(turns, "Asking", transient=True):
                asyncio.run(_ask(url, kinds[kind], clients, min(0.5, chosen.seconds), Measured()))  # warm
                measured, began = found[server, kind, clients], _cpu_seconds(process)
                asyncio.run(_ask(url, kinds[kind], clients, chosen.seconds, measured))
                measured.cpu += _cpu_seconds(process) - began
    rows = _rows(found, chosen.seconds * chosen.rounds)
    for row in rows:
        print(json.dumps(row))
    save(chosen.json, ["bentoml", "fastapi", "numpy", "sentence-transformers", "torch"], {"answers": rows})


def _bodies(recommender: Recommender, queries: Path) -> dict[str, Bodies]:
    contexts = list(json.loads(queries.read_text(encoding="utf-8")).values())[:500]
    kinds: dict[str, Bodies] = {"context": [{"user_context": context} for context in contexts]}
    if recommender.ranker is not None:
        kinds["history"] = [{"history": _history(recommender, context)} for context in contexts]
        without_orders = str.maketrans("[]", "()")
        kinds["words"] = [{"user_context": context.translate(without_orders)} for context in contexts]
    return kinds


def _history(recommender: Recommender, context: str) -> list[dict[str, Any]]:
    return [
        {
            "product_ids": list(order.product_ids),
            "days_since_prior_order": order.days_since_prior_order,
            "order_dow": order.order_dow,
            "order_hour_of_day": order.order_hour_of_day,
        }
        for order in recommender.history_from_context(context).orders
    ]


@contextmanager
def _served(command: list[str], settings: dict[str, str]) -> Iterator[tuple[str, psutil.Process]]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if name not in _OF_THE_SHELL} | settings
    with subprocess.Popen([*command, str(port)], env=environment) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            while not _is_ready(url):
                if process.poll() is not None:
                    sys.exit(f"The server ended with status {process.returncode}")
                time.sleep(0.2)
            yield url, psutil.Process(process.pid)
        finally:
            process.terminate()


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/ready").status_code == 200
    except httpx.TransportError:
        return False


async def _ask(url: str, bodies: Bodies, n_clients: int, seconds: float, measured: Measured) -> None:
    async with httpx.AsyncClient(limits=httpx.Limits(max_connections=n_clients), timeout=60) as client:
        end = time.perf_counter() + seconds

        async def ask_on(number: int) -> None:
            while (began := time.perf_counter()) < end:
                response = await client.post(f"{url}/recommend", json=bodies[number % len(bodies)])
                is_refused = response.status_code == 503
                if not is_refused:
                    response.raise_for_status()
                (measured.refused if is_refused else measured.answered).append(time.perf_counter() - began)
                number += n_clients

        await asyncio.gather(*(ask_on(number) for number in range(n_clients)))


def _cpu_seconds(process: psutil.Process) -> float:
    times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    return float(sum(each.user + each.system for each in times))


def _rows(found: Mapping[tuple[str, str, int], Measured], seconds: float) -> list[dict[str, Any]]:
    peer = {clients: len(of.answered) for (server, _, clients), of in found.items() if server == "plain handler"}
    rows = []
    for (server, kind, clients), of in found.items():
        p50, p95, p99 = _ms(of.answered, 50, 95, 99)
        row = {
            "server": server,
            "asked_by": kind,
            "clients": clients,
            "requests_per_second": round(len(of.answered) / seconds, 1),
            "cpu_ms_per_request": round(of.cpu / len(of.answered) * 1_000, 2),
            "p50_ms": p50,
            "p95_ms": p95,
            "p99_ms": p99,
        }
        if clients in peer:
            row["times_the_peer"] = round(len(of.answered) / peer[clients], 2)
        if of.refused:
            row |= {"refused": len(of.refused), "refused_p50_ms": _ms(of.refused, 50)[0]}
        rows.append(row)
    return rows


def _ms(seconds: Sequence[float], *percentiles: float) -> list[float]:
    return [round(float(value) * 1_000, 1) for value in np.percentile(seconds, percentiles)]


if __name__ == "__main__":
    main()
