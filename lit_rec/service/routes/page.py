"""The page at ``/``: what lit_rec is, to be tried in a browser; and the JSON it reads beside what every caller has.

The page is plain files, served as they lie in ``static/``; it loads nothing from elsewhere.
"""

import hashlib
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from fastapi import FastAPI, Query, Request
from prometheus_client import Histogram
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response
from starlette.staticfiles import NotModifiedResponse, StaticFiles
from starlette.types import Scope

from lit_rec.data.histories import histories_of
from lit_rec.inference.recommender import Recommender
from lit_rec.service.catalogue import Catalogue, Product
from lit_rec.service.engine import NotReadyError
from lit_rec.service.http_errors import ERRORS, UNKNOWN_USER, ApiError
from lit_rec.service.monitoring import Monitoring
from lit_rec.service.store_access import StoreAccess
from lit_rec.service.users import User
from lit_rec.store.events import Moment

STATIC = Path(__file__).parents[1] / "static"
_INDEX = STATIC / "index.html"
_FOREVER, _REVALIDATED = "public, max-age=31536000, immutable", "no-cache"
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": _REVALIDATED,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}


class ProductsFound(BaseModel):
    """What a search found, best first."""

    products: list[Product]


class UserSummary(BaseModel):
    """A user to choose."""

    user_id: str
    n_orders: int | None = Field(description="Past orders; null where the service has them as one line of text.")
    n_next: int = Field(description="Products really bought next; 0 where that is not known.")


class Users(BaseModel):
    """Users that the service knows, or those of them that were asked for."""

    total: int = Field(description="How many there are; fewer may be listed.")
    users: list[UserSummary]


class PastOrder(BaseModel):
    """One past order."""

    days_ago: float = Field(description="Days from this order to the order to come.")
    order_dow: int | None
    order_hour_of_day: int | None
    products: list[Product]


class UserDetail(BaseModel):
    """What a user has bought, and what was really bought next."""

    user_id: str
    orders: list[PastOrder] = Field(description="Oldest first.")
    next: list[Product] = Field(description="Empty where that is not known.")


class FunnelCounts(BaseModel):
    """Distinct products of distinct requests by what was done with them."""

    requests: int
    impression: int
    click: int
    add_to_cart: int
    purchase: int


class Latency(BaseModel):
    """Times since the process started, in milliseconds, estimated from the histogram of ``/metrics``."""

    count: int
    mean_ms: float | None
    p50_ms: float | None
    p95_ms: float | None


class Latencies(BaseModel):
    """By part: the whole of ``/recommend``, its text encoder, its ranking, and the storing of feedback."""

    total: Latency
    encode: Latency
    rank: Latency
    feedback: Latency


class About(BaseModel):
    """What is served."""

    model_config = ConfigDict(protected_namespaces=())

    models: dict[str, str] = Field(description="Arm to model version.")
    n_products: int
    n_users: int


def add_page(app: FastAPI) -> None:
    """Add ``/``, ``/static`` and ``/page/*`` to an app with the state that ``create_app`` gives it."""
    static = _StaticFiles(directory=STATIC)
    page = _INDEX.read_text(encoding="utf-8").replace("{version}", static.version).encode()
    headers = _HEADERS | {"ETag": f'"{hashlib.sha256(page).hexdigest()[:32]}"'}
    app.mount("/static", static)

    @app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    def index(request: Request) -> Response:
        response = Response(page, media_type="text/html", headers=headers)
        is_known = static.is_not_modified(response.headers, request.headers)
        return NotModifiedResponse(response.headers) if is_known else response

    _add_calls(app)


def _add_calls(app: FastAPI) -> None:
    @app.get("/page/shoppers", include_in_schema=False)  # the former name, to be removed with version 0.3
    @app.get("/page/users", responses=ERRORS, summary="Users that the service knows", tags=["page"])
    def users(
        request: Request,
        q: Annotated[str, Query(max_length=256, description="Part of their `user_id`.")] = "",
        limit: Annotated[int, Query(ge=1, le=1_000)] = 50,
    ) -> Users:
        _recommender(request)
        known, part = _users(request), q.strip().lower()
        found = [user_id for user_id in known if part in user_id.lower()]
        found.sort(key=lambda user_id: not user_id.lower().startswith(part))
        listed = [(user_id, known[user_id]) for user_id in found[:limit]]
        return Users(
            total=len(found),
            users=[
                UserSummary(
                    user_id=user_id,
                    n_orders=None if user.history is None else len(user.history.orders),
                    n_next=len(user.next_product_ids),
                )
                for user_id, user in listed
            ],
        )

    @app.get("/page/shoppers/{user_id:path}", include_in_schema=False)
    @app.get("/page/users/{user_id:path}", responses=ERRORS | UNKNOWN_USER, summary="One of them", tags=["page"])
    def user(request: Request, user_id: str) -> UserDetail:
        recommender, catalogue = _recommender(request), _catalogue(request)
        known = _users(request).get(user_id)
        if known is None:
            raise ApiError(404, "unknown_user", "This service does not know the user_id.")
        bought = known.history or recommender.history_from_context(known.context or "")
        history = histories_of([bought], recommender.product_index)
        return UserDetail(
            user_id=user_id,
            orders=[
                PastOrder(**vars(order), products=[catalogue[product_id] for product_id in order.product_ids])
                for order in history.user_history(0, recommender.index.product_ids).orders
            ],
            next=[catalogue[product_id] for product_id in known.next_product_ids],
        )

    @app.get("/page/products", responses=ERRORS, summary="Search the catalogue", tags=["page"])
    def products(
        request: Request,
        q: Annotated[str, Query(max_length=200, description="Words of a name, an aisle or a department.")],
        limit: Annotated[int, Query(ge=1, le=50)] = 8,
    ) -> ProductsFound:
        return ProductsFound(products=_catalogue(request).search(q, limit))

    @app.get("/page/about", responses=ERRORS, summary="What is served", tags=["page"])
    def about(request: Request) -> About:
        state, recommender = request.app.state, _recommender(request)
        models = {name: arm.model_version for name, arm in state.engine.arms.items()}
        return About(models=models, n_products=len(recommender.corpus), n_users=len(_users(request)))

    @app.get("/page/funnel", responses=ERRORS, summary="What became of what was recommended", tags=["page"])
    async def funnel(request: Request, since: Moment | None = None) -> FunnelCounts:
        access: StoreAccess = request.app.state.store_access
        return FunnelCounts(**await access.run(lambda: access.store.funnel(since)))

    @app.get("/page/latencies", responses=ERRORS, summary="How long it took", tags=["page"])
    def latencies(request: Request) -> Latencies:
        monitoring: Monitoring = request.app.state.monitoring
        return Latencies(
            total=_latency(monitoring.recommendation_seconds),
            encode=_latency(monitoring.encode_seconds),
            rank=_latency(monitoring.rank_seconds),
            feedback=_latency(monitoring.feedback_seconds),
        )


class _StaticFiles(StaticFiles):
    """Files that may be kept for good under ``/static/v-{version}/``, and are asked for anew under ``/static/``.

    The version is that of all files together, so that a page never gets a script of another release.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__(directory=directory)
        digest = hashlib.sha256()
        for file in sorted(directory.rglob("*")):
            if file.is_file():
                digest.update(file.relative_to(directory).as_posix().encode() + file.read_bytes())
        self.version = digest.hexdigest()[:12]

    async def get_response(self, path: str, scope: Scope) -> Response:
        versioned = re.fullmatch("v-([0-9a-f]{12})/(.+)", path)
        response = await super().get_response(versioned[2] if versioned else path, scope)
        is_this = versioned is not None and versioned[1] == self.version
        response.headers["Cache-Control"] = _FOREVER if is_this else _REVALIDATED
        return response


def _recommender(request: Request) -> Recommender:
    """That of the first arm: arms share a catalogue."""
    engine = request.app.state.engine
    if engine.is_ready:
        try:
            recommender: Recommender = next(iter(engine.arms.values())).recommender
            return recommender
        except NotReadyError:  # closed since
            pass
    raise ApiError(503, "loading", "The models are not loaded yet.", retry_after=5)


def _users(request: Request) -> dict[str, User]:
    """Those whose histories may be shown, by id."""
    state = request.app.state
    return state.users if state.settings.serve_users else {}


def _catalogue(request: Request) -> Catalogue:
    """Made when first asked for: services without visitors of the page do without it."""
    recommender, state = _recommender(request), request.app.state
    catalogue: Catalogue | None = getattr(state, "catalogue", None)
    if catalogue is None or catalogue.corpus is not recommender.corpus:
        ranker = recommender.ranker
        popularity = [] if ranker is None else ranker.item_item.popularity.tolist()
        catalogue = state.catalogue = Catalogue(recommender.corpus, popularity)
    return catalogue


def _latency(seconds: Histogram) -> Latency:
    samples = next(iter(seconds.collect())).samples
    of_kind = {sample.name.rpartition("_")[2]: sample.value for sample in samples}  # the last bucket holds all
    buckets = [(float(sample.labels["le"]), sample.value) for sample in samples if sample.name.endswith("_bucket")]
    count = int(of_kind["count"])
    if not count:
        return Latency(count=0, mean_ms=None, p50_ms=None, p95_ms=None)
    return Latency(
        count=count,
        mean_ms=1_000 * of_kind["sum"] / count,
        p50_ms=1_000 * _quantile(buckets, 0.5 * count),
        p95_ms=1_000 * _quantile(buckets, 0.95 * count),
    )


def _quantile(buckets: Sequence[tuple[float, float]], rank: float) -> float:
    """As Prometheus' ``histogram_quantile``: evenly spread within a bucket; beyond the last bound, that bound."""
    row = next(row for row, (_, at_most) in enumerate(buckets) if at_most >= rank)
    (bound, at_most), (lower, below) = buckets[row], buckets[row - 1] if row else (0.0, 0.0)
    return lower if math.isinf(bound) else lower + (bound - lower) * (rank - below) / (at_most - below)
