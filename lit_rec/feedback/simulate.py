"""Simulated users: they ask a running service over HTTP and tell it what they did with the answers."""

import logging
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np
from rich.progress import track

from lit_rec.core.errors import ServiceError
from lit_rec.feedback.clicks import act
from lit_rec.feedback.settings import SimulateSettings
from lit_rec.feedback.users import User

logger = logging.getLogger(__name__)

_ATTEMPTS = 5
_LONGEST_WAIT = 60.0  # seconds
_LONGEST_COMPLAINT = 200  # characters
_COME_BACK_LATER = frozenset({429, 503})


@dataclass(frozen=True)
class Simulation:
    """What simulated users have done.

    Args:
        n_answered: requests that were answered and whose feedback was accepted.
        failures: what went wrong with the others, and how often.
        events: how many of each type were sent.
        bought_shown: products shown that the user really bought, over all requests.
    """

    n_answered: int
    failures: dict[str, int]
    events: dict[str, int]
    bought_shown: int


@dataclass
class _Session:
    """One request and what came of it."""

    failure: str = ""
    events: Counter[str] = field(default_factory=Counter)
    bought_shown: int = 0


def simulate(
    url: str,
    users: Sequence[User],
    settings: SimulateSettings,
    api_key: str | None = None,
    *,
    show_progress: bool = True,
) -> Simulation:
    """Send requests, act on the answers, and send the feedback, one batch a request.

    Which user sends which request, and what they do with a given answer, depends on the seed alone.

    Args:
        url: of the service.
        users: they take turns, in a seeded order.
        settings: how many requests, and how users act.
        api_key: sent as ``X-API-Key``.
        show_progress: show a bar.

    Raises:
        ServiceError: there is no service, it refuses the key, or it answers no request at all.
    """
    headers = {} if api_key is None else {"X-API-Key": api_key}
    limits = httpx.Limits(max_connections=settings.concurrency)
    rng = np.random.default_rng(settings.seed)
    turns = np.concatenate([rng.permutation(len(users)) for _ in range(-(-settings.n_requests // len(users)))])
    numbered = list(enumerate(turns[: settings.n_requests].tolist()))
    with (
        httpx.Client(base_url=url, headers=headers, timeout=settings.timeout, limits=limits) as client,
        ThreadPoolExecutor(settings.concurrency) as threads,
    ):
        _check(client, url, api_key)
        one = lambda turn: _session(client, users[turn[1]], settings, turn[0])  # noqa: E731
        done = list(
            track(
                threads.map(one, numbered),
                description="Shopping",
                total=len(numbered),
                disable=not show_progress,
            )
        )
    failures = Counter(session.failure for session in done if session.failure)
    if len(done) == failures.total():
        raise ServiceError(
            f"None of {len(done):,} requests to {url} came through",
            "; ".join(f"{count:,} times {failure}" for failure, count in failures.most_common(3)),
            "See the service's log; --request_mode context asks a service that does not know these users",
        )
    events: Counter[str] = sum((session.events for session in done), Counter())
    return Simulation(
        len(done) - failures.total(), dict(failures), dict(events), sum(session.bought_shown for session in done)
    )


def _session(client: httpx.Client, user: User, settings: SimulateSettings, number: int) -> _Session:
    answer = _post(client, "/recommend", user.asks | {"top_k": settings.top_k})
    if isinstance(answer, str):
        return _Session(failure=f"/recommend {answer}")
    try:
        request_id = answer["request_id"]
        products = [item["product_id"] for item in answer["recommendations"]]
    except (KeyError, TypeError) as error:
        return _Session(failure=f"/recommend answered in another form: {error!r}")
    if not products:
        return _Session()
    rng = np.random.default_rng((settings.seed, number))
    actions = act(products, user.bought, settings, rng)
    events = [
        {
            "event_type": step.value,
            "request_id": request_id,
            "product_id": product,
            "user_id": user.user_id,
            "metadata": {"position": position},
        }
        for product, position, step in actions
    ]
    accepted = _post(client, "/feedback", {"events": events})
    if isinstance(accepted, str):
        return _Session(failure=f"/feedback {accepted}")
    shown = len(user.bought.intersection(products))
    return _Session(events=Counter(step.value for _, _, step in actions), bought_shown=shown)


def _post(client: httpx.Client, path: str, body: dict[str, Any]) -> Any:  # noqa: ANN401 - whatever is answered
    """The answer's content, or as a text what went wrong. A service that is busy is asked again, as it says when."""
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            response = client.post(path, json=body)
        except httpx.HTTPError as error:
            return f"failed: {type(error).__name__}"
        if response.status_code not in _COME_BACK_LATER or attempt == _ATTEMPTS:
            break
        time.sleep(_wait(response, attempt))
    if response.status_code not in {200, 202}:
        return f"answered {response.status_code}: {_complaint(response)}"
    try:
        return response.json()
    except ValueError:
        return "answered no JSON"


def _complaint(response: httpx.Response) -> str:
    """What the service says is wrong, without the request's id: the same fault is the same text."""
    try:
        error = response.json()["error"]
        return f"{error['code']}: {error['message']}"
    except (ValueError, KeyError, TypeError):
        return response.text[:_LONGEST_COMPLAINT]


def _wait(response: httpx.Response, attempt: int) -> float:
    try:
        asked = float(response.headers.get("Retry-After", ""))
    except ValueError:
        asked = 0.5 * 2**attempt
    return min(max(asked, 0.0), _LONGEST_WAIT)


def _check(client: httpx.Client, url: str, api_key: str | None) -> None:
    """Say at once what would fail every request."""
    try:
        health = client.get("/health")
        # What a key is refused for is refused before the body is looked at.
        refused = client.post("/recommend", json={}).status_code in {401, 403}
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ServiceError(
            f"No service answers at {url}",
            f"{type(error).__name__}: {error}",
            "Start it (bentoml serve, see docs/serve.md), or name another --url",
        ) from error
    if health.status_code != 200:
        raise ServiceError(
            f"{url} does not answer as a recommendation service",
            f"GET /health answered {health.status_code}",
            "Name the right --url",
        )
    if refused:
        raise ServiceError(
            f"The service at {url} wants an API key",
            "it refused this one" if api_key else "none was sent",
            "Pass --api_key, or set LIT_REC_API_KEY",
        )
