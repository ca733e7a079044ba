r"""Synthetic users of realistic structure, written as Kaggle's six Instacart files, at any size.

For tests, for a first try without any download, and for measuring at Kaggle's full size (206,209 users,
49,688 products: about 3.4 M orders and 34 M order lines). What a model can find in it:

- names that share words within an aisle (kind, brand, ``Organic``, flavour, size), Kaggle's quirks among
  them: ``8\" Celebration Cake``, ``Flour, Self Rising``, ``2.5% Lowfat Milk``;
- a power law of popularity, and favourite aisles that differ from user to user;
- staples: products that a user buys again when their own interval in days has passed since the last
  purchase, so that recency against the usual interval tells what is due;
- a usual weekday, hour, gap between orders and size of an order for each user.

Everything is drawn from numpy generators seeded with (seed, purpose, block of users): the bytes written
depend on the arguments of :func:`generate` and on nothing else. No row of any real dataset is in here.

A user, an order, an aisle and a product each are an index into arrays; ids are given as they are written.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from lit_rec.core import schema
from lit_rec.core.errors import SettingError
from lit_rec.core.files import read_json, replaced_when_complete, write_json
from lit_rec.data.sources.synthetic_catalogue import Catalogue, Floats, Ints, make_catalogue

RECORD = "synthetic.json"
"""The file beside the six that tells what they were made with."""
KAGGLE_UNLABELLED_SHARE = 75_000 / 206_209
"""Share of Kaggle's users whose last order is in the test set, without its products."""
MIN_PRODUCTS, MAX_PRODUCTS = 24, 200_000  # three aisles; what the words can name

_BLOCK_USERS = 2048  # one random stream each: part of the data's definition, not a tuning knob
_ORDERS_A_WRITE = 200_000  # about 2 M lines in memory at a time; leaves the bytes as they are
_MIN_ORDERS, _MAX_ORDERS = 4, 100
_MAX_GAP_WRITTEN = 30  # Kaggle writes every longer gap as 30 days
_MAX_GAP, _MAX_DAYS = 70, 8192  # days; no user's _MAX_ORDERS orders span more than _MAX_DAYS
_FAVOURITE_SHARES = tuple(1 / (2 + rank) for rank in range(14))  # of a user's favourite aisles, the dearest first
_LOYALTY = 0.7  # share of draws from the favourite aisles; the others follow popularity alone
_ABANDON = 0.03  # chance that a staple is dropped after a purchase

_WEEKDAY_SHARES = (0.22, 0.23, 0.12, 0.09, 0.09, 0.12, 0.13)
_HOUR_SHARES = (6, 3, 2, 1, 2, 3, 9, 27, 56, 80, 88, 86, 81, 80, 82, 80, 75, 65, 51, 41, 31, 23, 18, 10)

# Purposes of the random streams.
_CATALOGUE, _POPULATION, _SHOPPING = range(3)


@dataclass(frozen=True)
class _Population:
    """What must be known of all users before the first one shops.

    Args:
        first_order: index of each user's first order, and the number of all orders.
        eval_set: of each order; those of ``test`` are written without lines.
        order_ids: shuffled, as Kaggle's ids tell nothing of user or time.
    """

    first_order: Ints
    eval_set: npt.NDArray[np.str_]
    order_ids: Ints


@dataclass(frozen=True)
class _Habits:
    """Habits of a block's users, one value each.

    Args:
        gap: usual days between orders.
        size: usual number of products in an order.
        repeat: share of an order that staples are meant to fill; the rest is exploration.
        weekday: preferred day of the week.
        hour: preferred hour of the day.
        favourites: favourite aisles, the dearest first, shape (users, 14).
    """

    gap: Floats
    size: Floats
    repeat: Floats
    weekday: Ints
    hour: Ints
    favourites: Ints


@dataclass(frozen=True)
class _Orders:
    """A block's orders, by user and time.

    Args:
        first: index of each user's first order in the block, and the number of orders.
        user: the user, by order.
        day: days since the user's first order, by order.
        weekday: day of the week, by order.
        hour: hour of the day, by order.
    """

    first: Ints
    user: Ints
    day: Ints
    weekday: Ints
    hour: Ints


class _Lines(NamedTuple):
    """Lines of consecutive orders, in cart order; small types, for they are kept until the end.

    Args:
        size: number of lines, by order.
        product: product index, by line.
        reordered: whether the user had bought it before, by line.
    """

    size: npt.NDArray[np.int32]
    product: npt.NDArray[np.int32]
    reordered: npt.NDArray[np.int8]


def generate(
    data_dir: Path,
    *,
    n_users: int,
    n_products: int,
    seed: int,
    unlabelled_share: float = KAGGLE_UNLABELLED_SHARE,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Write the six CSV files of a synthetic Instacart, and a record of the arguments, into a new folder.

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
    made_with = {"n_users": n_users, "n_products": n_products, "seed": seed, "unlabelled_share": unlabelled_share}
    for name, is_allowed, allowed, do in (
        ("n_users", n_users >= 1, "at least 1", "ask for 50 or more"),
        ("n_products", MIN_PRODUCTS <= n_products <= MAX_PRODUCTS, "24 to 200,000", "Kaggle has 49,688"),
        ("seed", seed >= 0, "at least 0", "pass 0 or more"),
        ("unlabelled_share", 0 <= unlabelled_share <= 1, "0 to 1", "Kaggle's is 0.36"),
    ):
        if not is_allowed:
            raise SettingError(f"{name} must be {allowed}", f"got {made_with[name]:,}", do)
    _check_unused(data_dir)
    target = data_dir.resolve()  # a link to an empty folder stays a link
    with replaced_when_complete(target) as folder:
        catalogue = make_catalogue(n_products, [seed, _CATALOGUE])
        _write_catalogue(folder, catalogue)
        population = _draw_population(n_users, unlabelled_share, seed)
        n_blocks = math.ceil(n_users / _BLOCK_USERS)
        n_steps = n_blocks + math.ceil(population.order_ids.size / _ORDERS_A_WRITE)
        blocks = []
        with (folder / "orders.csv").open("wb") as file:
            for block in range(n_blocks):
                rng = np.random.default_rng([seed, _SHOPPING, block])
                orders, lines = _shop(rng, catalogue, population, block * _BLOCK_USERS)
                orders.write_csv(file, include_header=block == 0)
                blocks.append(lines)
                progress(block + 1, n_steps)
        all_lines = _Lines(*(np.concatenate(parts) for parts in zip(*blocks, strict=True)))
        del blocks
        for step, _ in enumerate(_write_lines(folder, catalogue, population, all_lines), n_blocks + 1):
            progress(step, n_steps)
        write_json(folder / RECORD, made_with)
        _check_unused(target)  # others may have written there meanwhile, and it is about to be replaced


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
            f"Synthetic data of n_users {n_users}, n_products {n_products}, seed {seed}",
            f"{data_dir} holds {told}",
            f"Name a new --data_dir, or take what is there: --source instacart --data_dir {data_dir}",
        )
    return True


def _check_unused(data_dir: Path) -> None:
    if data_dir.exists() and (not data_dir.is_dir() or any(data_dir.iterdir())):
        do = "name a new folder, or delete this one if nothing in it is needed"
        raise SettingError("synthetic data goes into a new folder", f"{data_dir} is there and not empty", do)


def _write_catalogue(folder: Path, catalogue: Catalogue) -> None:
    """Write products.csv in the order of the ids, aisles.csv and departments.csv."""
    by_id = np.argsort(catalogue.product_ids)
    aisle = catalogue.aisle[by_id]
    products = {
        schema.PRODUCT_ID: catalogue.product_ids[by_id],
        schema.PRODUCT_NAME: [catalogue.names[product] for product in by_id.tolist()],
        "aisle_id": aisle + 1,
        "department_id": catalogue.aisle_department[aisle] + 1,
    }
    pl.DataFrame(products).write_csv(folder / "products.csv")
    aisles = pl.DataFrame({schema.AISLE: catalogue.aisles})
    aisles.with_row_index("aisle_id", offset=1).write_csv(folder / "aisles.csv")
    departments = pl.DataFrame({schema.DEPARTMENT: catalogue.departments})
    departments.with_row_index("department_id", offset=1).write_csv(folder / "departments.csv")


# Draws that several steps share.


def _starts(sizes: npt.NDArray[np.integer]) -> Ints:
    """Index at which each of several consecutive runs begins, and where the last one ends."""
    return np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])


def _find(cumulative: Floats, points: Floats) -> Ints:
    """Index of the interval that holds each point; rounding never leads past the last one."""
    return np.searchsorted(cumulative, points, side="right").clip(max=cumulative.size - 1)


def _draw(rng: np.random.Generator, shares: tuple[float, ...], count: int) -> Ints:
    """Indices into a list of shares, drawn in proportion to them; they need not sum to 1."""
    cumulative = np.cumsum(shares)
    return _find(cumulative, rng.random(count) * cumulative[-1])


def _draw_products(rng: np.random.Generator, catalogue: Catalogue, habits: _Habits, user: Ints) -> Ints:
    """One product for each given user, drawn by popularity, mostly within a favourite aisle.

    A point between the edges of an aisle, on the line of cumulative popularity, is a product of that aisle;
    a point between 0 and 1 is any product.
    """
    aisle = habits.favourites[user, _draw(rng, _FAVOURITE_SHARES, user.size)]
    is_loyal = rng.random(user.size) < _LOYALTY
    low = np.where(is_loyal, catalogue.edges[aisle], 0)
    high = np.where(is_loyal, catalogue.edges[aisle + 1], 1)
    return _find(catalogue.cumulative, low + rng.random(user.size) * (high - low))


# Users and their orders.


def _draw_population(n_users: int, unlabelled_share: float, seed: int) -> _Population:
    """How many orders each user has, whose last one is unlabelled, and the order ids."""
    rng = np.random.default_rng([seed, _POPULATION])
    drawn = _MIN_ORDERS - 1 + rng.lognormal(np.log(7.6), 1.12, n_users)
    n_orders = np.rint(drawn).clip(_MIN_ORDERS, _MAX_ORDERS).astype(np.int64)
    unlabelled = np.arange(n_users) < round(unlabelled_share * n_users)
    rng.shuffle(unlabelled)
    first_order = _starts(n_orders)
    eval_set = np.full(first_order[-1], schema.PRIOR)
    eval_set[first_order[1:] - 1] = np.where(unlabelled, schema.UNLABELLED, schema.TARGET)
    return _Population(first_order, eval_set, 1 + rng.permutation(eval_set.size))


def _shop(
    rng: np.random.Generator, catalogue: Catalogue, population: _Population, begin: int
) -> tuple[pl.DataFrame, _Lines]:
    """Rows of orders.csv, and the lines of these orders, of the block of users that begins at ``begin``."""
    first = population.first_order[begin : begin + _BLOCK_USERS + 1]
    n_orders = np.diff(first)
    n_users = n_orders.size
    habits = _Habits(
        gap=np.minimum(rng.lognormal(np.log(17), 0.65, n_users), 360 / (n_orders - 1)),  # all within a year
        size=rng.lognormal(np.log(11), 0.55, n_users),
        repeat=rng.beta(0.6 * n_orders**0.6, 2, n_users),
        weekday=_draw(rng, _WEEKDAY_SHARES, n_users),
        hour=_draw(rng, _HOUR_SHARES, n_users),
        favourites=_find(catalogue.edges[1:], rng.random((n_users, len(_FAVOURITE_SHARES)))),
    )
    orders = _draw_orders(rng, habits, n_orders)
    lines = _draw_lines(rng, catalogue, habits, orders)

    number = np.arange(orders.user.size) - orders.first[orders.user] + 1
    gap = np.diff(orders.day, prepend=0).clip(max=_MAX_GAP_WRITTEN).astype(np.float64)
    columns = {
        schema.ORDER_ID: population.order_ids[first[0] : first[-1]],
        schema.USER_ID: begin + 1 + orders.user,
        schema.EVAL_SET: population.eval_set[first[0] : first[-1]],
        schema.ORDER_NUMBER: number,
        schema.ORDER_DOW: orders.weekday,
        schema.ORDER_HOUR: pl.Series(orders.hour).cast(pl.String).str.zfill(2),
        schema.DAYS_SINCE_PRIOR: np.where(number > 1, gap, np.nan),
    }
    return pl.DataFrame(columns, nan_to_null=True), lines


def _draw_orders(rng: np.random.Generator, habits: _Habits, n_orders: Ints) -> _Orders:
    """Day, weekday and hour of every order; about half fall on the user's preferred weekday and hour."""
    first = _starts(n_orders)
    user = np.repeat(np.arange(n_orders.size), n_orders)
    gap = (habits.gap[user] * rng.gamma(2, 1 / 2, user.size)).clip(max=_MAX_GAP)
    gap[first[:-1]] = 0
    passed = np.cumsum(gap)
    day = np.rint(passed - passed[first[user]]).astype(np.int64)
    # Weekdays are those of one calendar, on which a user's first order falls on day `start`. The nearest
    # preferred weekday is -3 to 3 days away.
    start = _draw(rng, _WEEKDAY_SHARES, n_orders.size)[user]
    to_preferred = (habits.weekday[user] - start - day + 3) % 7 - 3
    is_moved = (rng.random(user.size) < 0.4) & (day > 3)
    # No order may move before the one before it. A running maximum sees to that for all users at once where
    # each user's days begin beyond those of the users before.
    clock = np.maximum.accumulate(user * _MAX_DAYS + day + np.where(is_moved, to_preferred, 0))
    day = clock - user * _MAX_DAYS
    usual = np.rint(habits.hour[user] + rng.normal(0, 1.5, user.size)).astype(np.int64) % 24
    hour = np.where(rng.random(user.size) < 0.5, usual, _draw(rng, _HOUR_SHARES, user.size))
    return _Orders(first, user, day, (start + day) % 7, hour)


# What is bought.


def _draw_lines(rng: np.random.Generator, catalogue: Catalogue, habits: _Habits, orders: _Orders) -> _Lines:
    """Staples and exploration as lines: each product once an order, staples rather early in the cart."""
    n_orders, n_products = orders.user.size, len(catalogue.names)
    staple_order, staple = _buy_staples(rng, catalogue, habits, orders)

    # Exploration fills an order up to the size of this trip; no order stays empty.
    usual = habits.size[orders.user]
    n_staples = np.bincount(staple_order, minlength=n_orders)
    room = np.rint(usual * rng.gamma(4, 1 / 4, n_orders)).astype(np.int64) - n_staples
    impulses = rng.poisson(0.45 * (1 - habits.repeat[orders.user]) * usual)
    count = np.maximum(impulses + rng.binomial(room.clip(min=0), 0.27), n_staples == 0)
    explored_order = np.repeat(np.arange(n_orders), count)
    explored = _draw_products(rng, catalogue, habits, orders.user[explored_order])

    # One integer a line of the digits (user, product, order, is explored). Sorted, doubles within an order are
    # neighbours with the staple first, and all of a pair of user and product after its first line is reordered.
    order, product = np.concatenate([staple_order, explored_order]), np.concatenate([staple, explored])
    is_explored = np.arange(order.size) >= staple_order.size
    line = np.sort(((orders.user[order] * n_products + product) * n_orders + order) * 2 + is_explored)
    line = line[np.diff(line >> 1, prepend=-1) != 0]
    pair, order = np.divmod(line >> 1, n_orders)
    reordered = np.diff(pair, prepend=-1) == 0
    lateness = rng.random(line.size) + 0.35 * (line & 1)
    by_cart = np.argsort(order + lateness / 2, kind="stable")  # below 1: never past the next order
    return _Lines(
        np.bincount(order, minlength=n_orders).astype(np.int32),
        (pair % n_products)[by_cart].astype(np.int32),
        reordered[by_cart].astype(np.int8),
    )


def _buy_staples(rng: np.random.Generator, catalogue: Catalogue, habits: _Habits, orders: _Orders) -> tuple[Ints, Ints]:
    """Order and product of each purchase of a staple.

    A staple is bought again at the first order after its interval has passed since the last purchase: a renewal
    process for each pair of user and staple. Turn k of the loop is the k-th purchase of all pairs at once.
    """
    n_products = len(catalogue.names)
    count = rng.poisson(2.35 * habits.repeat * habits.size)
    drawn = np.repeat(np.arange(count.size), count)
    pairs = np.unique(drawn * n_products + _draw_products(rng, catalogue, habits, drawn))  # each staple once a user
    user, product = np.divmod(pairs, n_products)
    pace = catalogue.aisle_pace[catalogue.aisle[product]]
    interval = habits.gap[user] * pace * rng.lognormal(np.log(1.2), 0.8, user.size)

    # User and day in one number that never falls: one binary search finds the next order of every pair.
    clock = orders.user * _MAX_DAYS + orders.day
    end = orders.first[user + 1]  # where the orders of the user end
    # Most are on the list from the start, and due some time around it; the others are taken up on the way.
    is_early = rng.random(user.size) < 0.65
    span = orders.day[end - 1]
    wait = np.where(is_early, (rng.random(user.size) - 0.6) * interval, rng.random(user.size) * span)
    due = user * float(_MAX_DAYS) + wait
    order: Ints = orders.first[user] - 1
    alive = np.arange(user.size)
    bought_orders, bought = [], []
    while alive.size:
        order = np.maximum(np.searchsorted(clock, due), order + 1)
        kept = order < end[alive]
        bought_orders.append(order[kept])
        bought.append(product[alive[kept]])
        kept &= rng.random(alive.size) >= _ABANDON
        alive, order = alive[kept], order[kept]
        due = clock[order] + interval[alive] * rng.gamma(10, 0.1, alive.size)
    return np.concatenate(bought_orders), np.concatenate(bought)


def _write_lines(folder: Path, catalogue: Catalogue, population: _Population, lines: _Lines) -> Iterator[None]:
    """Write both files of order lines sorted by order id, as Kaggle's are; yields after each part."""
    first_line = _starts(lines.size)
    by_id = np.argsort(population.order_ids)
    for begin in range(0, by_id.size, _ORDERS_A_WRITE):
        part = by_id[begin : begin + _ORDERS_A_WRITE]
        for chosen in (schema.PRIOR, schema.TARGET):
            orders = part[population.eval_set[part] == chosen]
            size = lines.size[orders]
            position = np.arange(size.sum()) - np.repeat(_starts(size)[:-1], size)  # 0, 1, ... anew in each order
            line = np.repeat(first_line[orders], size) + position
            columns = {
                schema.ORDER_ID: np.repeat(population.order_ids[orders], size),
                schema.PRODUCT_ID: catalogue.product_ids[lines.product[line]],
                schema.CART_POSITION: position + 1,
                schema.REORDERED: lines.reordered[line],
            }
            with (folder / f"order_products__{chosen}.csv").open("ab") as file:
                pl.DataFrame(columns).write_csv(file, include_header=begin == 0)
        yield
