"""Simulated users: they ask a running service over HTTP and tell it what they did with the answers."""

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

    n_answered: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    events: dict[str, int] = field(default_factory=dict)
    bought_shown: int = 0


class _RequestFailedError(Exception):
    """One request came to nothing; others may still."""


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

        def ask(turn: tuple[int, int]) -> Simulation:
            number, user = turn
            try:
                return _session(client, users[user], settings, number)
            except _RequestFailedError as error:
                return Simulation(failures={str(error): 1})

        done = threads.map(ask, numbered)
        sessions = list(track(done, "Shopping", total=len(numbered), disable=not show_progress))
    failures, events = Counter[str](), Counter[str]()
    for session in sessions:
        failures.update(session.failures)
        events.update(session.events)
    if failures.total() == len(sessions):
        raise ServiceError(
            f"None of {len(sessions):,} requests to {url} came through",
            "; ".join(f"{count:,} times {failure}" for failure, count in failures.most_common(3)),
            "See the service's log; --request_mode context asks a service that does not know these users",
        )
    return Simulation(
        len(sessions) - failures.total(),
        dict(failures),
        dict(events),
        sum(session.bought_shown for session in sessions),
    )


def _session(client: httpx.Client, user: User, settings: SimulateSettings, number: int) -> Simulation:
    """One request and the feedback on its answer.

    Raises:
        _RequestFailedError: one of the two was not accepted.
    """
    answer = _post(client, "/recommend", user.asks | {"top_k": settings.top_k})
    try:
        request_id = answer["request_id"]
        products = [item["product_id"] for item in answer["recommendations"]]
    except (KeyError, TypeError) as error:
        raise _RequestFailedError(f"/recommend answered in another form: {error!r}") from error
    if not products:
        return Simulation(1)
    actions = act(products, user.bought, settings, np.random.default_rng((settings.seed, number)))
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
    _post(client, "/feedback", {"events": events})
    return Simulation(
        1, events=Counter(step.value for _, _, step in actions), bought_shown=len(user.bought.intersection(products))
    )


def _post(client: httpx.Client, path: str, body: dict[str, Any]) -> Any:  # noqa: ANN401 - whatever is answered
    """The answer's content. A service that is busy is asked again, as it says when.

    Raises:
        _RequestFailedError: it was not answered, or not with 200 or 202 and JSON.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            response = client.post(path, json=body)
        except httpx.HTTPError as error:
            raise _RequestFailedError(f"{path} failed: {type(error).__name__}") from error
        if response.status_code not in _COME_BACK_LATER or attempt == _ATTEMPTS:
            break
        try:
            wait = float(response.headers.get("Retry-After", ""))
        except ValueError:
            wait = 0.5 * 2**attempt
        time.sleep(min(max(wait, 0.0), _LONGEST_WAIT))
    try:
        content = response.json()
    except ValueError:
        content = None
    if response.status_code in {200, 202} and content is not None:
        return content
    try:  # what the service says is wrong, without the request's id: the same fault is the same text
        complaint = f"{content['error']['code']}: {content['error']['message']}"
    except (KeyError, TypeError):
        complaint = response.text[:_LONGEST_COMPLAINT]
    what = "no JSON" if response.is_success else f"{response.status_code}: {complaint}"
    raise _RequestFailedError(f"{path} answered {what}")


def _check(client: httpx.Client, url: str, api_key: str | None) -> None:
    """Say at once what would fail every request.

    Raises:
        ServiceError: there is no service, or it refuses the key.
    """
    try:
        health = client.get("/health")
        # A wrong key is refused before the body is read.
        is_refused = client.post("/recommend", json={}).status_code in {401, 403}
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
    if is_refused:
        raise ServiceError(
            f"The service at {url} wants an API key",
            "it refused this one" if api_key else "none was sent",
            "Pass --api_key, or set LIT_REC_API_KEY",
        )
