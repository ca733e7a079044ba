import math
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from torch import Tensor, multiprocessing

from lit_rec.core.errors import ShapeError
from lit_rec.data.dataset import OrderDataset, PairDataset, TrainingPairs
from lit_rec.data.tokens import TokenTable
from lit_rec.models.bi_encoder import BiEncoder
from lit_rec.models.encoder import TextEncoder
from lit_rec.models.losses import gather_candidates, global_mean, mean_over_anchors, multi_positive_loss

CONTEXTS = [
    "[w1h9] Organic Milk, Wheat Bread.",
    "[w2h10] Green Tea; [+7d w2h11] Black Tea.",
    "[w3h8] Rice.",
    "[w5h5] Cheese, Apples, Bananas.",
    "(no prior orders).",
]
PRODUCTS = [
    f"Product: {name}. Aisle: {name}. Department: all."
    for name in ["milk", "bread", "tea", "rice", "cheese", "apple", "pasta"]
]
# Products of each order; order 0 has five, others one or two, and milk (0) is in orders 0, 2 and 4.
ORDERS = [[0, 1, 2, 5, 6], [2], [0, 3], [4], [0, 4]]


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    """A model this small is slower with more."""
    torch.set_num_threads(1)


def table_of(encoder: TextEncoder, texts: list[str]) -> TokenTable:
    rows = encoder.token_ids(texts)
    starts = np.concatenate(([0], np.cumsum([len(row) for row in rows])))
    return TokenTable(np.concatenate(rows).astype(np.int32), starts, encoder.pad_token_id)


def pairs_of(encoder: TextEncoder) -> TrainingPairs:
    return TrainingPairs(
        anchors=table_of(encoder, CONTEXTS),
        products=table_of(encoder, PRODUCTS),
        pair_product=np.concatenate(ORDERS).astype(np.int32),
        order_start=np.concatenate(([0], np.cumsum([len(order) for order in ORDERS]))),
    )


def gradients(model: torch.nn.Module) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_same_gradients(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    largest = max(gradient.abs().max().item() for gradient in theirs.values())
    assert largest > 1e-3, "nothing would be compared"
    for name, gradient in theirs.items():
        difference = (ours[name] - gradient).abs().max().item()
        assert difference < 1e-5 * max(largest, 1), name


def test_pair_loss_is_the_librarys_loss_and_gradient(tiny_model: Path) -> None:
    """The same texts through MultipleNegativesRankingLoss and through a training step."""
    temperature = 1 / 30
    ours = BiEncoder(str(tiny_model), max_seq_length=64, loss="mnrl", temperature=temperature, dropout=0.0)
    dataset = PairDataset(pairs_of(ours.encoder), micro_batch_size=2)
    rows = np.array([1, 7, 8])  # no order and no product twice, as the library's sampler sees to
    loss = ours.batch_losses(dataset[rows]).mean()
    loss.backward()

    theirs = SentenceTransformer(str(tiny_model), device="cpu")
    theirs.max_seq_length = 64
    theirs.train()
    for module in theirs.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    anchors = [CONTEXTS[order] for order in dataset.order_of_pair[rows]]
    products = [PRODUCTS[product] for product in dataset.pairs.pair_product[rows]]
    library = MultipleNegativesRankingLoss(theirs, scale=1 / temperature)
    expected = library([theirs.preprocess(anchors), theirs.preprocess(products)], torch.empty(0))
    expected.backward()

    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
    assert loss.item() > 0.1
    assert_same_gradients(gradients(ours.encoder.sentence_transformer), gradients(theirs))


def test_pairs_of_one_order_are_no_negatives_of_each_other(tiny_model: Path) -> None:
    model = BiEncoder(str(tiny_model), max_seq_length=64, loss="mnrl", dropout=0.0)
    dataset = PairDataset(pairs_of(model.encoder))
    assert dataset.order_of_pair[1] == dataset.order_of_pair[2]
    with torch.no_grad():
        assert model.batch_losses(dataset[np.array([1, 2])]).tolist() == [0, 0]
        assert min(model.batch_losses(dataset[np.array([1, 2, 7])]).tolist()) > 0


def test_pair_loss_counts_a_product_of_two_pairs_once(tiny_model: Path) -> None:
    model = BiEncoder(str(tiny_model), max_seq_length=64, loss="mnrl", dropout=0.0)
    dataset = PairDataset(pairs_of(model.encoder))
    with torch.no_grad():
        (first, second) = model.batch_losses(dataset[np.array([0, 6])])  # milk twice: no negative is left
    assert (first.item(), second.item()) == pytest.approx((0, 0), abs=1e-6)


def test_multi_positive_loss_is_its_formula() -> None:
    torch.manual_seed(3)
    scores = torch.randn(3, 6, dtype=torch.float64) * 4
    pairs = [(0, 1), (0, 4), (1, 0), (2, 1), (2, 2), (2, 5)]
    anchor_index, product_index = torch.tensor(pairs).T
    expected = []
    for anchor, product in pairs:
        own = {p for a, p in pairs if a == anchor}
        of_negatives = sum(math.exp(scores[anchor, p].item()) for p in range(6) if p not in own)
        of_product = math.exp(scores[anchor, product].item())
        expected.append(-math.log(of_product / (of_product + of_negatives)))
    assert multi_positive_loss(scores, anchor_index, product_index).tolist() == pytest.approx(expected, abs=1e-12)


def test_multi_positive_loss_does_not_push_an_orders_own_products_apart() -> None:
    scores = torch.zeros(1, 3, requires_grad=True)
    multi_positive_loss(scores, torch.tensor([0, 0]), torch.tensor([0, 1]))[0].backward()
    assert scores.grad is not None
    pull, own, push = scores.grad[0].tolist()
    assert pull < 0
    assert own == 0
    assert push > 0


def test_multi_positive_loss_without_negatives_is_zero_with_a_finite_gradient() -> None:
    scores = torch.tensor([[3.0, -2.0], [1.0, 0.5]], requires_grad=True)
    losses = multi_positive_loss(scores, torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1]))
    assert losses[:2].tolist() == [0, 0]
    losses.sum().backward()
    assert scores.grad is not None
    assert scores.grad.isfinite().all()
    assert scores.grad[0].tolist() == [0, 0]
    assert scores.grad[1, 0] > 0


def test_orders_weigh_the_same_whatever_their_size(tiny_model: Path) -> None:
    losses = torch.tensor([1.0, 2.0, 6.0, 10.0])
    assert mean_over_anchors(losses, torch.tensor([0, 1, 0, 0]), 2).tolist() == pytest.approx([17 / 3, 2])

    model = BiEncoder(str(tiny_model), max_seq_length=64, dropout=0.0)
    dataset = OrderDataset(pairs_of(model.encoder))
    with torch.no_grad():
        assert model.batch_losses(dataset[np.arange(len(ORDERS))]).shape == (len(ORDERS),)


def test_logq_correction_is_taken_from_training_scores(tiny_model: Path) -> None:
    """Held against the formula on the model's own embeddings: score - correction * log(share of the pairs)."""
    model = BiEncoder(
        str(tiny_model), max_seq_length=64, loss="mnrl", temperature=0.5, logq_correction=0.7, dropout=0.0
    )
    dataset = PairDataset(pairs_of(model.encoder))
    rows = np.array([4, 5, 6])  # (order 0, pasta), (order 1, tea), (order 2, milk)
    with torch.no_grad():
        losses = model.batch_losses(dataset[rows])
        anchors = model([dataset.pairs.anchors.padded(np.array([0, 1, 2]))])
        products = model([dataset.pairs.products.padded(np.array([6, 2, 0]))])
    seen = np.array([2, 3, 4])  # one more than the pairs of pasta, tea and milk
    share = seen / (11 + len(PRODUCTS))
    scores = (anchors @ products.T / 0.5).numpy() - 0.7 * np.log(share)
    expected = sorted(np.log(np.exp(scores).sum(1)) - np.diag(scores))
    assert sorted(losses.tolist()) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("scores", "anchors", "products"), [((2,), (1,), (1,)), ((2, 2), (2,), (1,)), ((2, 2), (1, 1), (1, 1))]
)
def test_shapes_that_do_not_fit_are_errors(scores, anchors, products) -> None:
    indices = torch.zeros(anchors, dtype=torch.int64), torch.zeros(products, dtype=torch.int64)
    with pytest.raises(ShapeError, match="scores must be"):
        multi_positive_loss(torch.zeros(scores), *indices)


def test_candidates_are_each_there_once_in_catalogue_order() -> None:
    embeddings = torch.tensor([[1.0], [2.0], [3.0]])
    found, positions, log_frequency = gather_candidates(
        embeddings, torch.tensor([9, 4, 9]), torch.tensor([-1.0, -2.0, -1.0])
    )
    assert (found.tolist(), positions.tolist(), log_frequency.tolist()) == ([[2.0], [1.0]], [4, 9], [-2.0, -1.0])


# Two processes, each with a share of the orders: 5 and 2 distinct products, milk in both.
SHARES = [np.array([0, 1]), np.array([2, 3, 4])]
LOSSES = ("multi_positive", "mnrl")


def train_model(loss: str, tiny_model: str) -> BiEncoder:
    return BiEncoder(tiny_model, max_seq_length=64, loss=loss, logq_correction=0.3, dropout=0.0)


def one_step(model: BiEncoder, orders: np.ndarray) -> tuple[float, dict[str, Tensor]]:
    dataset = OrderDataset(pairs_of(model.encoder), micro_batch_size=2)
    loss = global_mean(model.batch_losses(dataset[orders]))
    loss.backward()
    return loss.item(), gradients(model)


def one_of_two_processes(rank: int, folder: str, tiny_model: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    answers = {}
    for loss in LOSSES:
        value, found = one_step(train_model(loss, tiny_model), SHARES[rank])
        for gradient in found.values():  # what DDP does
            torch.distributed.all_reduce(gradient)
            gradient /= 2
        answers[loss] = value, found
    torch.save(answers, Path(folder) / f"{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def of_two_processes(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    folder = tmp_path_factory.mktemp("gloo")
    multiprocessing.spawn(one_of_two_processes, (str(folder), str(tiny_model)), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("loss", LOSSES)
def test_two_processes_give_the_gradient_of_the_whole_batch(
    loss: str, of_two_processes: list, tiny_model: Path
) -> None:
    value, expected = one_step(train_model(loss, str(tiny_model)), np.concatenate(SHARES))
    (first, gradient), (second, gradient_of_second) = (answers[loss] for answers in of_two_processes)
    assert (first + second) / 2 == pytest.approx(value, abs=1e-5)
    assert first != pytest.approx(second, abs=1e-2), "the shares should differ for the test to say something"
    assert_same_gradients(gradient, expected)
    assert_same_gradients(gradient_of_second, expected)
