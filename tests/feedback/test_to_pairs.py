"""Feedback as training pairs: which rows, with which anchors and weights; the same on both databases."""

import numpy as np
import pytest
from datasets import load_from_disk

from lit_rec.core import schema
from lit_rec.core.errors import FeedbackStoreError, FileError
from lit_rec.core.files import read_json
from lit_rec.data.contexts import product_name
from lit_rec.data.processed import ProcessedFolder, content_hashes
from lit_rec.feedback.settings import PairSettings
from lit_rec.feedback.to_pairs import to_pairs
from lit_rec.store.database import Exposure, FeedbackStore, url_of
from lit_rec.store.events import PAGE, FeedbackEvent


@pytest.fixture(scope="module")
def folder(processed_dir):
    return ProcessedFolder(processed_dir)


@pytest.fixture(scope="module")
def ids(folder):
    return list(folder.corpus)


def shown(request, products, **more):
    """A list with a context, and the impressions of it."""
    served = Exposure(request, products, np.linspace(0.9, 0.1, len(products)).tolist(), "m", **more)
    return served, [event_of("impression", request, product) for product in products]


def event_of(kind, request, product, **more):
    return FeedbackEvent(event_type=kind, request_id=request, product_id=product, **more)


def rows_of(path):
    return [load_from_disk(path / name).to_list() for name in (schema.TRAIN_DATASET, schema.NEGATIVES_DATASET)]


@pytest.fixture
def pairs_of(sqlite_store, folder, tmp_path):
    """Stores exposures and events; gives what was recorded, the positives and the negatives."""

    def write(exposures=(), events=(), **settings):
        sqlite_store.record_exposures(exposures)
        sqlite_store.record(events)
        return to_pairs(sqlite_store, folder, tmp_path / "pairs", PairSettings(**settings)), *rows_of(
            tmp_path / "pairs"
        )

    return write


def test_bought_are_positives_and_what_was_left_alone_is_a_hard_negative(store, folder, ids, tmp_path):
    a, b, c, d, e = ids[:5]
    context = "[w1h9] Organic Milk."
    served, events = shown("r1", [a, b, c, d, e], context=context)
    store.record_exposures([served])
    events += [event_of("click", "r1", product) for product in (a, b, c)]
    events += [event_of("purchase", "r1", b), event_of("add_to_cart", "r1", c)]
    store.record(events)
    record = to_pairs(store, folder, tmp_path / "pairs", PairSettings())
    positives, negatives = rows_of(tmp_path / "pairs")
    assert {row["positive"] for row in positives} == {folder.corpus[b], folder.corpus[c]}
    assert {row["negative"] for row in negatives} == {folder.corpus[d], folder.corpus[e]}, (
        "a was clicked: it is neither"
    )
    for row in positives + negatives:
        assert (row["anchor"], row["query_id"], row["request_id"]) == (context, 0, "r1")
        assert folder.corpus[str(row["product_id"])] == row.get("positive", row.get("negative"))
    assert (record["n_orders"], record["n_pairs"], record["n_negatives"]) == (1, 2, 2)


def test_the_datasets_have_the_columns_that_prepare_writes(pairs_of, folder, ids, tmp_path):
    served, events = shown("r1", ids[:2], context="x")
    pairs_of([served], [*events, event_of("purchase", "r1", ids[0])])
    ours, prepared = (load_from_disk(each / schema.TRAIN_DATASET) for each in (tmp_path / "pairs", folder.path))
    assert {name: ours.features[name] for name in prepared.column_names} == prepared.features


def test_a_request_without_a_positive_is_counted_and_left_out(pairs_of, ids):
    (one, of_one), (two, of_two) = (shown(each, ids[:3], context=f"context of {each}") for each in ("r1", "r2"))
    actions = [event_of("click", "r1", ids[0]), event_of("purchase", "r2", ids[1])]
    record, _, negatives = pairs_of([one, two], [*of_one, *of_two, *actions])
    assert {row["anchor"] for row in negatives} == {"context of r2"}
    assert (record["n_requests"], record["n_requests_without_positive"]) == (2, 1)


def test_an_anchor_is_written_from_the_history_or_found_by_the_user(pairs_of, folder, ids):
    history = {
        "orders": [
            {"product_ids": [ids[0], "unknown"], "order_dow": 2, "order_hour_of_day": 8},
            {"product_ids": [ids[1]], "days_since_prior_order": 7.0, "order_dow": None, "order_hour_of_day": 14},
        ],
        "order_dow": 3,
    }
    user = next(iter(folder.queries))
    lists = [
        shown("by history", ids[:2], history=history),
        shown("by user", ids[:2], user_id=user),
        shown("by nothing", ids[:2], user_id="stranger"),
        shown("by an empty history", ids[:2], history={"orders": []}),
    ]
    events = [event for _, events in lists for event in events]
    bought = [event_of("purchase", served.request_id, ids[1]) for served, _ in lists]
    not_served = event_of("purchase", "unknown request", ids[1], user_id=user)
    record, positives, _ = pairs_of([served for served, _ in lists], [*events, *bought, not_served])
    anchors = {row["request_id"]: row["anchor"] for row in positives}
    names = [product_name(folder.corpus[product]) for product in ids[:2]]
    assert anchors == {
        "by history": f"[w2h8] {names[0]}; [+7d w0h14] {names[1]}.",
        "by user": folder.queries[user],
        "unknown request": folder.queries[user],
    }
    assert record["n_positives_without_context"] == 2


def test_products_outside_the_catalogue_are_counted(pairs_of, ids):
    served, events = shown("r1", [ids[0], "999999", ids[1], "888888"], context="x")
    bought = [event_of("purchase", "r1", "999999"), event_of("purchase", "r1", ids[1])]
    record, _, _ = pairs_of([served], [*events, *bought])
    assert (record["n_pairs"], record["n_negatives"], record["n_positives_outside_catalogue"]) == (1, 1, 1)


def clicked_lists(n_lists, n_shown, ids, seed=2):
    """Lists whose products are liked alike, so that click rates are examination alone: 1/position."""
    rng = np.random.default_rng(seed)
    served, events = [], []
    for number in range(n_lists):
        products = rng.permutation(ids)[:n_shown].tolist()
        served.append(Exposure(f"r{number}", products, [0.5] * n_shown, "m", context=f"context {number}"))
        for position, product in enumerate(products, 1):
            kinds = ["impression"] + ["click", "purchase"] * bool(rng.random() < 0.6 / position)
            events += [event_of(kind, f"r{number}", product) for kind in kinds]
    return served, events


def test_weights_undo_the_position_and_are_one_in_the_mean(pairs_of, ids):
    served, events = clicked_lists(600, 5, ids)
    record, positives, negatives = pairs_of(served, events)
    assert record["examination"] == pytest.approx([1 / k for k in range(1, 6)], abs=0.1)
    assert record["attractiveness"] == pytest.approx(0.6, abs=0.05)
    place = {(each.request_id, p): k for each in served for k, p in enumerate(each.product_ids, 1)}
    weights = {}
    for row in positives:
        weights.setdefault(place[row["request_id"], str(row["product_id"])], set()).add(row["weight"])
    assert np.mean([row["weight"] for row in positives]) == pytest.approx(1, abs=1e-6)
    by_position = [weights[k].pop() for k in range(1, 6)]
    assert np.divide(by_position, by_position[0]) == pytest.approx(1 / np.array(record["examination"]), rel=1e-3)
    of_first, of_last = (
        {row["weight"] for row in negatives if place[row["request_id"], str(row["product_id"])] == k} for k in (1, 5)
    )
    assert of_first == {1.0}
    assert max(of_last) < 0.6


def test_weights_are_cut(pairs_of, ids):
    _, positives, _ = pairs_of(*clicked_lists(300, 5, ids), max_weight=1.5)
    weights = [row["weight"] for row in positives]
    assert max(weights) / min(weights) == pytest.approx(1.5, rel=1e-5)


def test_a_position_that_is_not_known_weighs_as_examined(pairs_of, folder, ids):
    user = next(iter(folder.queries))
    events = [event_of(kind, "r1", ids[0], user_id=user) for kind in ("impression", "purchase")]
    _, (row,), negatives = pairs_of(events=events)
    assert row["weight"] == 1
    assert negatives == []


@pytest.mark.parametrize("position", [2, 1_000_000, 2e9, 2**62])
def test_what_was_bought_deeper_than_anything_was_shown_weighs_as_the_deepest(pairs_of, ids, position):
    served, events = clicked_lists(60, 1, ids)
    deep = Exposure("deep", ids[:3], [0.9, 0.8, 0.7], "m", context="deep")
    of_caller = {"request_id": "r0", "product_id": ids[4], "metadata": {"position": position}}
    stray = FeedbackEvent(event_type="impression", **of_caller)
    record, positives, _ = pairs_of([*served, deep], [*events, event_of("purchase", "deep", ids[2]), stray])
    assert len(record["examination"]) == min(position, 1_000)
    (row,) = [row for row in positives if row["request_id"] == "deep"]
    assert row["weight"] > 1, "hardly anybody looks there"


def test_a_purchase_below_every_impression_does_not_need_one(pairs_of, ids):
    served, _ = shown("r1", ids[:3], context="x")
    record, _, _ = pairs_of([served], [event_of("impression", "r1", ids[0]), event_of("purchase", "r1", ids[2])])
    assert record["n_pairs"] == 1


def test_what_was_done_on_the_services_own_page_is_learned_from_only_when_asked_for(pairs_of, ids):
    tried, _ = shown("tried", ids[:2], context="x")
    kinds = ("impression", "purchase")
    with pytest.raises(FeedbackStoreError, match=r"left out: 2 events of the service's own page"):
        pairs_of([tried], [event_of(kind, "tried", ids[0], metadata={"source": PAGE}) for kind in kinds])
    record, _, _ = pairs_of(include_page=True)
    assert (record["n_pairs"], record["left_out"]) == (1, {"impossible_times": 0})
    served, events = shown("real", ids[:2], context="y")
    record, _, _ = pairs_of([served], [*events, event_of("purchase", "real", ids[1])])
    assert (record["n_pairs"], record["left_out"]["page"]) == (1, 2)


def test_contexts_are_asked_for_of_the_requests_with_a_purchase_alone(pairs_of, sqlite_store, ids):
    lists = [shown(f"r{number}", ids[:2], context=f"context {number}") for number in range(20)]
    events = [event for _, events in lists for event in events]
    read, rows = [], sqlite_store.rows
    sqlite_store.rows = lambda query: read.extend(found := rows(query)) or found
    pairs_of([served for served, _ in lists], [*events, event_of("purchase", "r7", ids[0])])
    assert [row.context for row in read if "context" in row._fields] == ["context 7"]


def test_the_span_is_that_of_the_impressions(pairs_of, ids):
    days = ("01", "02", "03")
    events = [
        event_of(kind, day, ids[0], created_at=f"2026-05-{day}T10:00:00Z")
        for day in days
        for kind in ("impression", "purchase")
    ]
    served = [Exposure(day, ids[:1], [0.5], "m", context=f"day {day}") for day in days]
    _, positives, _ = pairs_of(served, events, since="2026-05-02", until="2026-05-03")
    assert [row["anchor"] for row in positives] == ["day 02"]


def test_without_a_pair_nothing_is_written(pairs_of, ids, tmp_path):
    with pytest.raises(FeedbackStoreError, match="No training pairs in the feedback: 0 products in it"):
        pairs_of()
    with pytest.raises(FeedbackStoreError, match=r"1 of those in the catalogue .* none with a context"):
        pairs_of(events=[event_of("purchase", "r1", ids[0], user_id="stranger")])
    assert not (tmp_path / "pairs").exists()


def test_what_is_recorded_fits_what_is_written_and_is_the_same_again(folder, ids, tmp_path):
    records = []
    for name in ("one", "two"):
        store = FeedbackStore(url_of(tmp_path / f"{name}.db"))
        served, events = clicked_lists(50, 3, ids)
        store.record_exposures(served)
        store.record(events)
        to_pairs(store, folder, tmp_path / name, PairSettings())
        store.close()
        records.append(read_json(tmp_path / name / schema.FEEDBACK_PARAMS))
        hashes = content_hashes(tmp_path / name)
        hashes.pop(schema.FEEDBACK_PARAMS)
        assert records[-1]["sha256"] == hashes
    assert records[0]["sha256"] == records[1]["sha256"]
    assert records[0]["lit_rec_version"]


def test_a_history_is_written_in_the_form_that_the_folder_trains_on(sqlite_store, folder, ids, tmp_path):
    a, b, c, *_ = ids
    history = {
        "orders": [
            {"product_ids": [a], "days_since_prior_order": None, "order_dow": 1, "order_hour_of_day": 9},
            {"product_ids": [b, c], "days_since_prior_order": 6.0, "order_dow": None, "order_hour_of_day": None},
        ],
        "days_since_prior_order": 3.0,
        "order_dow": 4,
        "order_hour_of_day": 0,
    }
    served, events = shown("r1", [a, b], history=history)
    sqlite_store.record_exposures([served])
    sqlite_store.record([*events, event_of("purchase", "r1", a)])
    other = ProcessedFolder(folder.path)
    other.__dict__["params"] = folder.params | {
        "max_prior_orders": 1,
        "max_product_names": 1,
        "next_order_in_context": "training",
    }
    to_pairs(sqlite_store, other, tmp_path / "pairs", PairSettings())
    (row,), _ = rows_of(tmp_path / "pairs")
    assert row["anchor"] == f"[+6d w0h0] {product_name(folder.corpus[b])}. Next: +3d w4h0"


def test_a_folder_with_anything_else_in_it_is_refused_before_the_feedback_is_read(folder, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "feedback.db").write_text("events")
    with pytest.raises(FileError, match=r"it holds feedback\.db, which would be lost"):
        to_pairs(None, folder, tmp_path / "data", PairSettings())
    assert (tmp_path / "data" / "feedback.db").read_text() == "events"
