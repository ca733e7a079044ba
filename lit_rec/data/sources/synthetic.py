r"""Made-up users of realistic structure, written as Kaggle's six Instacart files, at any size.

For tests, for a first try without any download, and for measuring at Kaggle's full size (206,209 users,
49,688 products: about 3.4 M orders and 34 M order lines). What a model can find in it:

- names that share words within an aisle (kind, brand, ``Organic``, flavour, size), Kaggle's quirks among
  them: ``8\" Celebration Cake``, ``Flour, Self Rising``, ``2.5% Lowfat Milk``;
- a power law of popularity, and favourite aisles that differ from user to user;
- staples: products that a user buys again when their own interval in days has passed since the last
  purchase, so that recency against the usual interval tells what is due;
- a usual weekday, hour, gap between orders and basket size for each user.

Everything is drawn from numpy generators seeded with (seed, purpose, block of users): the bytes written
depend on the arguments of :func:`generate` and on nothing else. The names are our own; no row of any real
dataset is in here.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import polars as pl

from lit_rec.core import schema
from lit_rec.core.errors import SettingError
from lit_rec.core.files import read_json, replaced_when_complete, write_json
from lit_rec.data.sources.synthetic_catalogue import Catalogue, Floats, Ints, make_catalogue

Flags = npt.NDArray[np.bool_]

RECORD = "synthetic.json"
"""The file beside the six that tells what they were made with."""
KAGGLE_UNLABELLED_SHARE = 75_000 / 206_209
"""Share of Kaggle's users whose last order is in the test set, without its products."""
MIN_PRODUCTS, MAX_PRODUCTS = 24, 200_000  # three aisles; what the words below can name

_BLOCK_USERS = 2048  # one random stream each: part of the data's definition, not a tuning knob
_ORDERS_A_WRITE = 200_000  # about 2 M lines in memory at a time; leaves the bytes as they are
_MIN_ORDERS, _MAX_ORDERS = 4, 100
_MAX_GAP_WRITTEN = 30  # Kaggle writes every longer gap as 30 days
_MAX_GAP, _MAX_DAYS = 70, 8192  # days; no timeline of _MAX_ORDERS gaps is longer than _MAX_DAYS
_N_FAVOURITES = 14  # aisles a user
_LOYALTY = 0.7  # share of draws from the favourite aisles; the others follow popularity alone
_ABANDON = 0.03  # chance that a staple is dropped after a purchase

_WEEKDAY_SHARES = (0.22, 0.23, 0.12, 0.09, 0.09, 0.12, 0.13)
_HOUR_SHARES = (6, 3, 2, 1, 2, 3, 9, 27, 56, 80, 88, 86, 81, 80, 82, 80, 75, 65, 51, 41, 31, 23, 18, 10)

# Purposes of the random streams.
_CATALOGUE, _POPULATION, _SHOPPING = range(3)


def generate(
    data_dir: Path,
    *,
    n_users: int,
    n_products: int,
    seed: int,
    unlabelled_share: float = KAGGLE_UNLABELLED_SHARE,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write the six CSV files of a made-up Instacart, and a record of the arguments, into a new folder.

    The folder appears, whole, when everything is written; an interrupted run leaves none. Kaggle's full size
    takes about half a minute on one core and 0.8 GB of memory.

    Args:
        data_dir: the folder to make; it may exist if it is empty.
        n_users: number of users, at least 1.
        n_products: size of the catalogue, 24 to 200,000; 1,072 or more fill all 134 aisles.
        seed: the same arguments give the same bytes; at least 0.
        unlabelled_share: share of users, 0 to 1, whose last order is ``test`` (its lines are not written)
            instead of ``train``.
        progress: called with (steps done, steps in all) after each step.

    Raises:
        SettingError: an argument is out of its range, or the folder holds something already.
    """
    _check(data_dir, n_users=n_users, n_products=n_products, seed=seed, unlabelled_share=unlabelled_share)
    target = data_dir.resolve()  # a link to an empty folder stays a link
    with replaced_when_complete(target) as folder:
        catalogue = make_catalogue(n_products, [seed, _CATALOGUE])
        _write_catalogue(folder, catalogue)
        population = _make_population(n_users, unlabelled_share, seed)
        baskets: list[_Baskets] = []
        steps = chain(
            _shop_and_write_orders(folder, catalogue, population, seed, baskets),
            _write_lines(folder, catalogue, population, baskets),
        )
        n_steps = -(-n_users // _BLOCK_USERS) + -(-population.order_ids.size // _ORDERS_A_WRITE)
        for step, _ in enumerate(steps, 1):
            if progress:
                progress(step, n_steps)
        made_with = {"n_users": n_users, "n_products": n_products, "seed": seed, "unlabelled_share": unlabelled_share}
        write_json(folder / RECORD, made_with)
        _refuse_used(target)  # others may have written there meanwhile, and it is about to be replaced


def holds(data_dir: Path, *, n_users: int, n_products: int, seed: int) -> bool:
    """Whether a folder holds what :func:`generate` would write into it; False where it can still be written.

    Raises:
        SettingError: the folder holds something else.
    """
    if not data_dir.exists() or (data_dir.is_dir() and not any(data_dir.iterdir())):
        return False
    record = data_dir / RECORD
    held = read_json(record) if record.is_file() else None
    asked = {"n_users": n_users, "n_products": n_products, "seed": seed, "unlabelled_share": KAGGLE_UNLABELLED_SHARE}
    if held != asked:
        told = ", ".join(f"{name} {value}" for name, value in held.items()) if held else f"no {RECORD} of its making"
        raise SettingError(
            f"Made-up data of n_users {n_users}, n_products {n_products}, seed {seed}",
            f"{data_dir} holds {told}",
            f"Name a new --data_dir, or take what is there: --source instacart --data_dir {data_dir}",
        )
    return True


def _check(data_dir: Path, *, n_users: int, n_products: int, seed: int, unlabelled_share: float) -> None:
    """Refuse settings out of range and a folder in use, before any work is done."""
    if n_users < 1:
        raise SettingError("n_users must be at least 1", f"got {n_users:,}", "ask for 50 or more")
    if not MIN_PRODUCTS <= n_products <= MAX_PRODUCTS:
        allowed = f"{MIN_PRODUCTS:,} to {MAX_PRODUCTS:,}"
        raise SettingError(f"n_products must be {allowed}", f"got {n_products:,}", "Kaggle's size is 49,688")
    if seed < 0:
        raise SettingError("seed must not be negative", f"got {seed}", "pass 0 or more")
    if not 0 <= unlabelled_share <= 1:
        found = f"got {unlabelled_share}"
        raise SettingError("unlabelled_share must be 0 to 1", found, f"Kaggle's is {KAGGLE_UNLABELLED_SHARE:.2f}")
    _refuse_used(data_dir)


def _refuse_used(data_dir: Path) -> None:
    if data_dir.exists() and (not data_dir.is_dir() or any(data_dir.iterdir())):
        do = "name a new folder, or delete this one if nothing in it is needed"
        raise SettingError("made-up data goes into a new folder", f"{data_dir} is there and not empty", do)


def _append(file: BinaryIO, frame: pl.DataFrame) -> None:
    """Add rows to a CSV file; the header goes before the first ones."""
    frame.write_csv(file, include_header=file.tell() == 0)


def _write_catalogue(folder: Path, catalogue: Catalogue) -> None:
    """Write products.csv in the order of the ids, aisles.csv and departments.csv."""
    by_id = np.argsort(catalogue.product_ids)
    aisles = catalogue.slot_aisle[by_id]
    tables: dict[str, dict[str, Iterable[object]]] = {
        "products": {
            schema.PRODUCT_ID: catalogue.product_ids[by_id],
            schema.PRODUCT_NAME: [catalogue.names[slot] for slot in by_id.tolist()],
            "aisle_id": aisles + 1,
            "department_id": catalogue.aisle_department[aisles] + 1,
        },
        "aisles": {"aisle_id": range(1, len(catalogue.aisles) + 1), schema.AISLE: catalogue.aisles},
        "departments": {
            "department_id": range(1, len(catalogue.departments) + 1),
            schema.DEPARTMENT: catalogue.departments,
        },
    }
    for name, columns in tables.items():
        pl.DataFrame(columns).write_csv(folder / f"{name}.csv")


# --- users and their orders --------------------------------------------------------------------------


@dataclass(frozen=True)
class _Population:
    """What must be known of all users before the first one shops.

    Args:
        first_order: place of each user's first order among all orders, and the number of all orders.
        unlabelled: whether the user's last order is without lines.
        order_ids: id by place: shuffled, as Kaggle's ids tell nothing of user or time.
    """

    first_order: Ints
    unlabelled: Flags
    order_ids: Ints


@dataclass(frozen=True)
class _Habits:
    """Habits of a block's users, one value each.

    Args:
        gap: usual days between orders.
        basket: usual number of products in an order.
        repeat: share of the basket that staples are meant to fill; the rest is exploration.
        weekday: preferred day of the week.
        hour: preferred hour of the day.
        favourites: places of the favourite aisles, the dearest first, shape (users, _N_FAVOURITES).
    """

    gap: Floats
    basket: Floats
    repeat: Floats
    weekday: Ints
    hour: Ints
    favourites: Ints


@dataclass(frozen=True)
class _Timeline:
    """A block's orders, by user and time.

    Args:
        first: place of each user's first order in the block, and the number of orders.
        owner: place of the user in the block, by order.
        day: days since the user's first order, by order.
        weekday: day of the week, by order.
        hour: hour of the day, by order.
    """

    first: Ints
    owner: Ints
    day: Ints
    weekday: Ints
    hour: Ints

    @property
    def clock(self) -> Ints:
        """Owner and day in one number that never falls, so that one search finds orders of all users."""
        return self.owner * _MAX_DAYS + self.day


@dataclass(frozen=True)
class _Baskets:
    """Lines of consecutive orders, each order's in cart order; small types, for they are kept until the end.

    Args:
        size: lines an order.
        slot: slot of the product, by line.
        reordered: whether the user had bought it before, by line.
    """

    size: npt.NDArray[np.int32]
    slot: npt.NDArray[np.int32]
    reordered: npt.NDArray[np.int8]

    @classmethod
    def joined(cls, parts: list["_Baskets"]) -> "_Baskets":
        """The parts, one after the other."""
        return cls(
            np.concatenate([part.size for part in parts]),
            np.concatenate([part.slot for part in parts]),
            np.concatenate([part.reordered for part in parts]),
        )


def _make_population(n_users: int, unlabelled_share: float, seed: int) -> _Population:
    """Draw how many orders each user has, who is unlabelled, and the order ids."""
    rng = np.random.default_rng([seed, _POPULATION])
    drawn = _MIN_ORDERS - 1 + rng.lognormal(np.log(7.6), 1.12, n_users)
    n_orders = np.rint(drawn).clip(_MIN_ORDERS, _MAX_ORDERS).astype(np.int64)
    unlabelled = np.arange(n_users) < round(unlabelled_share * n_users)
    rng.shuffle(unlabelled)
    return _Population(_starts(n_orders), unlabelled, 1 + rng.permutation(int(n_orders.sum())))


def _starts(sizes: npt.NDArray[np.integer]) -> Ints:
    """Where each of several consecutive runs begins, and where the last one ends."""
    return np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])


def _shop_and_write_orders(
    folder: Path, catalogue: Catalogue, population: _Population, seed: int, baskets: list[_Baskets]
) -> Iterator[None]:
    """Write orders.csv and collect what was bought, block by block of users; yields after each."""
    with (folder / "orders.csv").open("wb") as file:
        for block in range(-(-population.unlabelled.size // _BLOCK_USERS)):
            baskets.append(_shop(file, catalogue, population, block, seed))
            yield


def _shop(file: BinaryIO, catalogue: Catalogue, population: _Population, block: int, seed: int) -> _Baskets:
    """Let the users of one block shop: append their orders to the file, return what they bought."""
    rng = np.random.default_rng([seed, _SHOPPING, block])
    begin = block * _BLOCK_USERS
    first = population.first_order[begin : begin + _BLOCK_USERS + 1]
    unlabelled = population.unlabelled[begin : begin + _BLOCK_USERS]
    n_orders = np.diff(first)
    habits = _draw_habits(rng, catalogue, n_orders)
    timeline = _draw_timeline(rng, habits, n_orders)
    _append(file, _orders_table(timeline, population.order_ids[first[0] : first[-1]], begin, unlabelled))
    bought = _buy_staples(rng, catalogue, habits, timeline)
    explored = _explore(rng, catalogue, habits, timeline, bought[0])
    return _fill_carts(rng, timeline, bought, explored, len(catalogue.names))


def _draw_habits(rng: np.random.Generator, catalogue: Catalogue, n_orders: Ints) -> _Habits:
    """Draw each user's habits; who has many orders has short gaps, since all happens within a year."""
    n_users = n_orders.size
    return _Habits(
        gap=np.minimum(rng.lognormal(np.log(17), 0.65, n_users), 360 / (n_orders - 1)),
        basket=rng.lognormal(np.log(11), 0.55, n_users),
        repeat=rng.beta(0.6 * n_orders**0.6, 2, n_users),
        weekday=_draw_places(rng, _WEEKDAY_SHARES, n_users),
        hour=_draw_places(rng, _HOUR_SHARES, n_users),
        favourites=_find(catalogue.edges[1:], rng.random((n_users, _N_FAVOURITES))),
    )


def _find(cumulative: Floats, points: Floats) -> Ints:
    """Place of the interval that holds each point; rounding never leads past the last one."""
    return np.searchsorted(cumulative, points, side="right").clip(max=cumulative.size - 1)


def _draw_places(rng: np.random.Generator, shares: tuple[float, ...], count: int) -> Ints:
    """Draw places in a list of shares, which need not sum to 1."""
    cumulative = np.cumsum(shares)
    return _find(cumulative, rng.random(count) * cumulative[-1])


def _draw_timeline(rng: np.random.Generator, habits: _Habits, n_orders: Ints) -> _Timeline:
    """Draw day, weekday and hour of every order; about half fall on the user's preferred weekday and hour."""
    first = _starts(n_orders)
    owner = np.repeat(np.arange(n_orders.size), n_orders)
    gap = (habits.gap[owner] * rng.gamma(2, 1 / 2, owner.size)).clip(max=_MAX_GAP)
    gap[first[:-1]] = 0
    passed = np.cumsum(gap)
    day = np.rint(passed - passed[first[owner]]).astype(np.int64)
    # Weekdays are those of one calendar, on which a user's first order falls on day `start`.
    start = _draw_places(rng, _WEEKDAY_SHARES, n_orders.size)[owner]
    to_preferred = (habits.weekday[owner] - start - day + 3) % 7 - 3
    moved = (rng.random(owner.size) < 0.4) & (day > 3)
    day = np.maximum.accumulate(owner * _MAX_DAYS + day + np.where(moved, to_preferred, 0)) - owner * _MAX_DAYS
    usual = np.rint(habits.hour[owner] + rng.normal(0, 1.5, owner.size)).astype(np.int64) % 24
    hour = np.where(rng.random(owner.size) < 0.5, usual, _draw_places(rng, _HOUR_SHARES, owner.size))
    return _Timeline(first, owner, day, (start + day) % 7, hour)


def _orders_table(timeline: _Timeline, order_ids: Ints, begin: int, unlabelled: Flags) -> pl.DataFrame:
    """The rows of orders.csv; ``begin`` is the number of users before this block."""
    place = np.arange(order_ids.size)
    number = place - timeline.first[timeline.owner] + 1
    gap = np.diff(timeline.day, prepend=0).clip(max=_MAX_GAP_WRITTEN).astype(np.float64)
    is_last = place == timeline.first[timeline.owner + 1] - 1
    is_unlabelled = pl.Series(unlabelled[timeline.owner])
    columns = {
        schema.ORDER_ID: order_ids,
        schema.USER_ID: begin + 1 + timeline.owner,
        schema.ORDER_NUMBER: number,
        schema.ORDER_DOW: timeline.weekday,
        schema.ORDER_HOUR: timeline.hour,
        schema.DAYS_SINCE_PRIOR: gap,
    }
    last_set = pl.when(is_unlabelled).then(pl.lit(schema.UNLABELLED)).otherwise(pl.lit(schema.TARGET))
    return pl.DataFrame(columns).select(
        schema.ORDER_ID,
        schema.USER_ID,
        pl.when(pl.Series(is_last)).then(last_set).otherwise(pl.lit(schema.PRIOR)).alias(schema.EVAL_SET),
        schema.ORDER_NUMBER,
        schema.ORDER_DOW,
        pl.col(schema.ORDER_HOUR).cast(pl.String).str.zfill(2),
        pl.when(pl.col(schema.ORDER_NUMBER) > 1).then(schema.DAYS_SINCE_PRIOR).alias(schema.DAYS_SINCE_PRIOR),
    )


# --- baskets -----------------------------------------------------------------------------------------


def _draw_slots(rng: np.random.Generator, catalogue: Catalogue, habits: _Habits, owner: Ints) -> Ints:
    """Draw one product for each given user: by popularity, mostly within a favourite aisle."""
    dearest = _draw_places(rng, tuple(1 / (2 + rank) for rank in range(_N_FAVOURITES)), owner.size)
    aisle = habits.favourites[owner, dearest]
    loyal = rng.random(owner.size) < _LOYALTY
    low = np.where(loyal, catalogue.edges[aisle], 0)
    high = np.where(loyal, catalogue.edges[aisle + 1], 1)
    return _find(catalogue.cumulative, low + rng.random(owner.size) * (high - low))


def _buy_staples(
    rng: np.random.Generator, catalogue: Catalogue, habits: _Habits, timeline: _Timeline
) -> tuple[Ints, Ints]:
    """Buy every staple again at the first order after its interval has passed since the last purchase.

    A renewal process for each pair of user and staple, all pairs at once: turn k is the k-th purchase.

    Returns:
        Place of the order and slot of the product, by purchase.
    """
    owner, slot, interval = _draw_staples(rng, catalogue, habits)
    clock, end = timeline.clock, timeline.first[owner + 1]
    span = timeline.day[end - 1]
    # Most are on the list from the start, and due some time around it; the others are taken up on the way.
    early = rng.random(owner.size) < 0.65
    wait = np.where(early, (rng.random(owner.size) - 0.6) * interval, rng.random(owner.size) * span)
    due = owner * float(_MAX_DAYS) + wait
    order: Ints = timeline.first[owner] - 1
    alive = np.arange(owner.size)
    orders, slots = [], []
    while alive.size:
        order = np.maximum(np.searchsorted(clock, due), order + 1)
        kept = order < end[alive]
        orders.append(order[kept])
        slots.append(slot[alive[kept]])
        kept &= rng.random(alive.size) >= _ABANDON
        alive, order = alive[kept], order[kept]
        due = clock[order] + interval[alive] * rng.gamma(10, 0.1, alive.size)
    return np.concatenate(orders), np.concatenate(slots)


def _draw_staples(rng: np.random.Generator, catalogue: Catalogue, habits: _Habits) -> tuple[Ints, Ints, Floats]:
    """Draw each user's staples: user, slot and usual interval in days; a user's staples are distinct."""
    n_products = len(catalogue.names)
    count = rng.poisson(2.35 * habits.repeat * habits.basket)
    drawn = np.repeat(np.arange(count.size), count)
    owner, slot = np.divmod(np.unique(drawn * n_products + _draw_slots(rng, catalogue, habits, drawn)), n_products)
    pace = catalogue.aisle_pace[catalogue.slot_aisle[slot]]
    interval = habits.gap[owner] * pace * rng.lognormal(np.log(1.2), 0.8, owner.size)
    return owner, slot, interval


def _explore(
    rng: np.random.Generator, catalogue: Catalogue, habits: _Habits, timeline: _Timeline, staple_orders: Ints
) -> tuple[Ints, Ints]:
    """Fill each order up to the size of this trip with products off the user's list; no order stays empty.

    Returns:
        Place of the order and slot of the product, by purchase.
    """
    usual = habits.basket[timeline.owner]
    n_staples = np.bincount(staple_orders, minlength=usual.size)
    room = np.rint(usual * rng.gamma(4, 1 / 4, usual.size)).astype(np.int64) - n_staples
    impulses = rng.poisson(0.45 * (1 - habits.repeat[timeline.owner]) * usual)
    count = np.maximum(impulses + rng.binomial(room.clip(min=0), 0.27), n_staples == 0)
    order = np.repeat(np.arange(usual.size), count)
    return order, _draw_slots(rng, catalogue, habits, timeline.owner[order])


def _fill_carts(
    rng: np.random.Generator, timeline: _Timeline, bought: tuple[Ints, Ints], explored: tuple[Ints, Ints], n_slots: int
) -> _Baskets:
    """Merge staples and exploration into lines: each product once an order, staples rather early in the cart."""
    order, slot = (np.concatenate(columns) for columns in zip(bought, explored, strict=True))
    is_find = np.arange(order.size) >= bought[0].size
    # One sort by (user, product, order, staple first) finds both the doubles and what was bought before.
    n_orders = timeline.owner.size
    key = np.sort(((timeline.owner[order] * n_slots + slot) * n_orders + order) * 2 + is_find)
    key = key[np.diff(key >> 1, prepend=-1) != 0]
    pair, order = np.divmod(key >> 1, n_orders)
    reordered = np.diff(pair, prepend=-1) == 0
    late = rng.random(key.size) + 0.35 * (key & 1)
    carts = np.argsort(order + late / 2, kind="stable")  # `late` is below 2: never past the next order
    return _Baskets(
        np.bincount(order, minlength=n_orders).astype(np.int32),
        (pair % n_slots)[carts].astype(np.int32),
        reordered[carts].astype(np.int8),
    )


def _write_lines(folder: Path, catalogue: Catalogue, population: _Population, parts: list[_Baskets]) -> Iterator[None]:
    """Write both files of order lines sorted by order id, as Kaggle's are; yields after each part."""
    baskets = _Baskets.joined(parts)
    is_prior = np.ones(baskets.size.size, dtype=np.bool_)
    is_prior[population.first_order[1:] - 1] = False
    is_target = ~is_prior
    is_target[population.first_order[1:][population.unlabelled] - 1] = False
    first_line = _starts(baskets.size)
    by_id = np.argsort(population.order_ids)
    with (
        (folder / "order_products__prior.csv").open("wb") as prior_file,
        (folder / "order_products__train.csv").open("wb") as target_file,
    ):
        for begin in range(0, by_id.size, _ORDERS_A_WRITE):
            orders = by_id[begin : begin + _ORDERS_A_WRITE]
            for file, chosen in ((prior_file, is_prior), (target_file, is_target)):
                _append(file, _lines_table(catalogue, population, baskets, first_line, orders[chosen[orders]]))
            yield


def _lines_table(
    catalogue: Catalogue, population: _Population, baskets: _Baskets, first_line: Ints, orders: Ints
) -> pl.DataFrame:
    """The lines of the given orders, in their order."""
    size = baskets.size[orders]
    position = np.arange(size.sum()) - np.repeat(_starts(size)[:-1], size)
    line = np.repeat(first_line[orders], size) + position
    return pl.DataFrame(
        {
            schema.ORDER_ID: np.repeat(population.order_ids[orders], size),
            schema.PRODUCT_ID: catalogue.product_ids[baskets.slot[line]],
            schema.CART_POSITION: position + 1,
            "reordered": baskets.reordered[line],
        }
    )
