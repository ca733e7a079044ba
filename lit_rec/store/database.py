"""The feedback store: what was recommended and what users did with it, on SQLite or PostgreSQL.

Safe from several threads, processes and replicas at once. On SQLite a writer waits for another one (WAL, busy timeout)
and what is committed survives a power cut.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Connection, Engine, Select, Table, create_engine, distinct, event, exc, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url

from lit_rec.core.errors import FeedbackStoreError, OutcomeUnknownError, SettingError, UnstorableError
from lit_rec.store.events import EventType, FeedbackEvent
from lit_rec.store.migrate import migrate
from lit_rec.store.tables import exposed_products, exposures, feedback_events

Outcome = Literal["accepted", "duplicate"]

_BUSY_TIMEOUT = 30.0  # seconds that a writer on SQLite waits for others
_CONNECTION = {  # to PostgreSQL; a server that fell silent is given up after about 20 seconds
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}


@dataclass(frozen=True)
class Exposure:
    """The products that one request was answered with.

    Args:
        request_id: of the answer.
        product_ids: best first.
        scores: of each product.
        model_version: what ranked them.
        arm: the arm of an experiment; None where there is one model.
        user_id: who asked, where that is known.
        user_context_hash: stands for who asked.
        context: the context string that was ranked for; None where none was given.
        history: the past orders that were ranked for, in the form of the request: ``orders`` (oldest first, each with
            ``product_ids``, ``days_since_prior_order``, ``order_dow``, ``order_hour_of_day``) and, of the order to
            come, the same three; None where none were given.
        latency_ms: time to answer.
        served_at: when, with a time zone.
    """

    request_id: str
    product_ids: Sequence[str]
    scores: Sequence[float]
    model_version: str
    arm: str | None = None
    user_id: str | None = None
    user_context_hash: str | None = None
    context: str | None = None
    history: Mapping[str, Any] | None = None
    latency_ms: float | None = None
    served_at: datetime = field(default_factory=lambda: datetime.now(UTC))


class FeedbackStore:
    """The feedback database, migrated where it is new or of an older version.

    Args:
        url: ``sqlite:////folder/feedback.db`` or ``postgresql+psycopg://user@host/database``; see :func:`url_of`.
        read_only: open a file of SQLite that cannot be written, or whose folder cannot.
        timeout_seconds: a statement that waits longer fails; by default only a writer on SQLite does, after a while.
        open_now: else it is opened when it is first used, or by :meth:`open`.

    Attributes:
        engine: SQLAlchemy's.
        where: the URL without its password, for messages and records.
        is_open: whether the database was reached and has today's tables.

    Raises:
        SettingError: the URL is none, or of another database.
        FeedbackStoreError: the database cannot be opened, or a newer version wrote it.
    """

    def __init__(
        self, url: str, *, read_only: bool = False, timeout_seconds: float | None = None, open_now: bool = True
    ) -> None:
        self.url = _checked(url)
        self.where = self.url.render_as_string(hide_password=True)
        self._is_sqlite, self._is_read_only = self.url.get_backend_name() == "sqlite", read_only
        self.engine = (
            _sqlite(self.url, timeout_seconds, read_only=read_only)
            if self._is_sqlite
            else _postgresql(self.url, timeout_seconds)
        )
        self._file = Path(self.url.database or "").absolute()  # of SQLite
        self._opened_file: tuple[int, int] | None = None
        self._opening = threading.Lock()
        self.is_open = False
        if open_now:
            self.open()

    def open(self) -> None:
        """Migrate the database where that is needed; done already, this does nothing.

        Raises:
            FeedbackStoreError: it cannot be opened, or a newer version wrote it.
        """
        with self._opening:
            if self.is_open:
                return
            if self._is_sqlite and not self._is_read_only:
                try:
                    self._file.parent.mkdir(parents=True, exist_ok=True)
                except OSError as error:
                    raise FeedbackStoreError(
                        f"No folder {self._file.parent} for the feedback database", str(error)
                    ) from error
            self._check_file()
            with self._errors("opened"):
                migrate(self.engine)
            self._opened_file = _identity(self._file) if self._is_sqlite else None
            self.is_open = True

    def record(self, events: Sequence[FeedbackEvent]) -> list[Outcome]:
        """Store events in one transaction, committed on return; those whose id is there already are not stored again.

        Args:
            events: any number.

        Returns:
            What became of each.

        Raises:
            UnstorableError: nothing was stored, for one of them.
            OutcomeUnknownError: whether they were stored is not known; another try finds out.
            FeedbackStoreError: nothing was stored.
        """
        now = datetime.now(UTC)
        rows = [event.model_dump() | {"created_at": event.created_at or now} for event in events]
        with self._transaction() as connection:
            stored = _insert_new(connection, feedback_events, "event_id", rows)
        outcomes: list[Outcome] = []
        for each in events:
            outcomes.append("accepted" if each.event_id in stored else "duplicate")
            stored.discard(each.event_id)  # the same id again in the same call
        return outcomes

    def record_exposures(self, recommended: Sequence[Exposure]) -> None:
        """Store exposures in one transaction; of two with one request id the first is kept.

        Raises:
            UnstorableError: nothing was stored, for one of them.
            OutcomeUnknownError: whether they were stored is not known; another try finds out.
            FeedbackStoreError: nothing was stored.
        """
        by_id = {each.request_id: each for each in reversed(recommended)}
        rows = [{column.name: getattr(each, column.name) for column in exposures.columns} for each in by_id.values()]
        with self._transaction() as connection:
            stored = _insert_new(connection, exposures, "request_id", rows)
            products = [
                {"request_id": request_id, "rank": rank, "product_id": product_id, "score": score}
                for request_id in sorted(stored)
                for rank, (product_id, score) in enumerate(
                    zip(by_id[request_id].product_ids, by_id[request_id].scores, strict=True), 1
                )
            ]
            if products:
                connection.execute(exposed_products.insert(), products)

    def funnel(self, since: datetime | None = None) -> dict[str, int]:
        """Number of ``requests``, and of distinct products of a request with each type of event.

        Args:
            since: only events from this moment on, with a time zone.
        """
        events = feedback_events.c
        steps = select(events.event_type, events.request_id, events.product_id).distinct()
        requests = select(func.count(distinct(events.request_id)))
        if since is not None:
            steps, requests = steps.where(events.created_at >= since), requests.where(events.created_at >= since)
        each = steps.subquery()
        counts = self.rows(select(each.c.event_type, func.count()).group_by(each.c.event_type))
        found = {row[0]: int(row[1]) for row in counts}
        return {"requests": int(self.rows(requests)[0][0])} | {kind.value: found.get(kind, 0) for kind in EventType}

    def rows(self, query: Select[Any]) -> Sequence[Any]:
        """All rows of a query, without keeping writers waiting.

        Args:
            query: of the tables of :mod:`lit_rec.store.tables`.
        """
        with self._connection("read", reads_only=True) as connection:
            return connection.execute(query).all()

    def batches(self, query: Select[Any], size: int = 10_000) -> Iterator[Sequence[Any]]:
        """The rows of a query as :meth:`rows`, some at a time.

        Args:
            query: of the tables of :mod:`lit_rec.store.tables`.
            size: rows at a time.
        """
        with self._connection("read", reads_only=True) as connection:
            yield from connection.execution_options(stream_results=True).execute(query).partitions(size)

    def check(self) -> None:
        """Make sure that the database answers and holds the tables.

        Raises:
            FeedbackStoreError: it does not.
        """
        self.rows(select(feedback_events.c.id).limit(1))

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        """A connection whose work is committed at the end."""
        with self._connection("written", reads_only=False) as connection:
            yield connection
            try:
                connection.commit()
            except exc.SQLAlchemyError as error:
                connection.invalidate()  # it may still be in the transaction
                raise OutcomeUnknownError(
                    f"The feedback database {self.where} was lost while it stored", _reason(error), "Try again"
                ) from error

    @contextmanager
    def _connection(self, done: str, *, reads_only: bool) -> Iterator[Connection]:
        """A connection to the open database, on the file that it was when it was opened."""
        self.open()
        self._check_file()
        with self._errors(done), self.engine.connect().execution_options(reads_only=reads_only) as connection:
            yield connection
        self._check_file()

    @contextmanager
    def _errors(self, done: str) -> Iterator[None]:
        """Turns SQLAlchemy's errors into ours: the fault of a value, or of the database."""
        try:
            yield
        except exc.SQLAlchemyError as error:
            of_a_value = isinstance(error, exc.DataError | exc.IntegrityError) or type(error) is exc.StatementError
            raise (UnstorableError if of_a_value else FeedbackStoreError)(
                f"The feedback database {self.where} cannot be {done}",
                _reason(error),
                "Check LIT_REC_FEEDBACK_DB_PATH, and that it runs",
            ) from error

    def _check_file(self) -> None:
        """Notice a lost file: SQLite itself would go on with one that was deleted, and lose all that it is given."""
        if self._opened_file in (None, _identity(self._file)):
            return
        self.is_open = False
        self.engine.dispose()
        raise FeedbackStoreError(
            f"The feedback database {self._file} is no longer the file that was opened",
            "it was deleted, moved or replaced; what the old one is given is lost",
            f"Put it back, or start again for a new one, without the old one's {self._file.name}-wal",
        )


def _insert_new(connection: Connection, table: Table, key: str, rows: list[dict[str, Any]]) -> set[str]:
    """Insert the rows whose key is not there yet.

    Returns:
        Their keys.
    """
    if not rows:
        return set()
    insert = (sqlite if connection.dialect.name == "sqlite" else postgresql).insert(table)
    statement = insert.on_conflict_do_nothing(index_elements=[key]).returning(table.c[key])
    rows = sorted(rows, key=itemgetter(key))  # in one order everywhere: two writers cannot wait for each other
    return set(connection.execute(statement, rows).scalars())


def _identity(file: Path) -> tuple[int, int] | None:
    """What tells a file from another of its name; None where there is none."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _reason(error: exc.SQLAlchemyError) -> str:
    return str(getattr(error, "orig", None) or error).strip()


def url_of(path_or_url: str | Path) -> str:
    """The URL of a database that is named by URL, or by the path of an SQLite file.

    >>> url_of("data/feedback.db")
    'sqlite:///data/feedback.db'
    >>> url_of("postgresql://127.0.0.1/shop")
    'postgresql+psycopg://127.0.0.1/shop'
    """
    text = str(path_or_url)
    if "://" not in text:
        return URL.create("sqlite", database=text).render_as_string()
    scheme, _, rest = text.partition("://")
    return f"postgresql+psycopg://{rest}" if scheme in {"postgresql", "postgres"} else text


def _checked(url: str) -> URL:
    try:
        parsed = make_url(url)
    except exc.ArgumentError as error:
        raise SettingError("The feedback database must be a path or a URL", f"got {url!r}") from error
    named = parsed.get_backend_name()
    if named == "postgresql" or (named == "sqlite" and parsed.database not in {None, "", ":memory:"}):
        return parsed
    raise SettingError(
        "The feedback database must be a file of SQLite or a PostgreSQL server",
        f"got {parsed.render_as_string(hide_password=True)}",
        "Name a path such as data/feedback.db, or postgresql://user@host/database",
    )


def _postgresql(url: URL, timeout_seconds: float | None) -> Engine:
    try:
        engine = create_engine(url, pool_pre_ping=True, connect_args=_CONNECTION)
    except (ModuleNotFoundError, exc.NoSuchModuleError) as error:
        raise SettingError("PostgreSQL needs its driver", str(error), "pip install 'psycopg[binary]'") from error

    @event.listens_for(engine, "connect")
    def set_up(connection: Any, _: object) -> None:  # noqa: ANN401 - the driver's
        connection.execute("SET TIME ZONE 'UTC'")  # in others the ends of the calendar are no datetime
        if timeout_seconds is not None:
            connection.execute(f"SET statement_timeout = {round(1_000 * timeout_seconds)}")
        connection.commit()

    return engine


def _sqlite(url: URL, timeout_seconds: float | None, *, read_only: bool) -> Engine:
    at = _read_only(Path(str(url.database))) if read_only else url
    engine = create_engine(at, connect_args={"timeout": timeout_seconds or _BUSY_TIMEOUT})

    @event.listens_for(engine, "connect")
    def set_up(connection: Any, _: object) -> None:  # noqa: ANN401 - the driver's
        connection.isolation_level = None  # transactions begin below, those that change tables included
        for pragma in () if read_only else ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # One that reads first and then writes could not wait for another writer: SQLite would refuse it at once.
        reads_only = connection.get_execution_options().get("reads_only")
        connection.exec_driver_sql("BEGIN" if reads_only else "BEGIN IMMEDIATE")

    return engine


def _read_only(file: Path) -> URL:
    """URL of a file that cannot be written; while others write it, SQLite must see the files they put beside it."""
    wal, index = (file.with_name(f"{file.name}{end}") for end in ("-wal", "-shm"))
    is_still = not index.exists() and not (wal.exists() and wal.stat().st_size)
    query = {"uri": "true", "mode": "ro"} | ({"immutable": "1"} if is_still else {})
    return URL.create("sqlite", database=file.absolute().as_uri(), query=query)
