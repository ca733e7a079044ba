"""Weighted pairs and hard negatives, by hand and through a training step."""

import math

import numpy as np
import pytest
import torch

from lit_rec.data.dataset import HardNegatives, OrderDataset, TrainingPairs
from lit_rec.data.tokens import TokenTable
from lit_rec.models.bi_encoder import BiEncoder
from lit_rec.models.losses import multi_positive_loss, with_hard_negatives

CONTEXTS = ["[1] milk.", "[2] bread, rice.", "(no prior orders)."]
PRODUCTS = ["milk 1", "bread 2", "rice 3", "tea 4", "product 5"]
ORDERS = [[0, 1], [2], [0]]
NEGATIVES = [[3, 4], [], [4]]
WEIGHTS = [0.5, 2.0, 0.25]


def test_a_weight_multiplies_a_term_of_the_sum_over_negatives():
    scores = torch.tensor([[0.3, -0.2, 1.1], [0.5, 0.1, -0.7]])
    weighted = with_hard_negatives(scores, torch.tensor([0, 1]), torch.tensor([2, 0]), torch.tensor([0.25, 3.0]))
    losses = multi_positive_loss(weighted, torch.tensor([0, 1]), torch.tensor([0, 2]))
    e = math.exp
    by_hand = [math.log(1 + (e(-0.2) + 0.25 * e(1.1)) / e(0.3)), math.log(1 + (3 * e(0.5) + e(0.1)) / e(-0.7))]
    assert losses.tolist() == pytest.approx(by_hand, abs=1e-6)


def test_a_weight_of_one_changes_nothing_and_the_scores_given_are_left_alone():
    scores = torch.randn(3, 4)
    before = scores.clone()
    index = torch.tensor([0, 2])
    assert torch.equal(with_hard_negatives(scores, index, index, torch.ones(2)), scores)
    with_hard_negatives(scores, index, index, torch.full((2,), 5.0))
    assert torch.equal(scores, before)


def test_the_gradient_goes_through():
    scores = torch.zeros(1, 3, requires_grad=True)
    weighted = with_hard_negatives(scores, torch.tensor([0]), torch.tensor([2]), torch.tensor([3.0]))
    multi_positive_loss(weighted, torch.tensor([0]), torch.tensor([0])).backward()
    assert scores.grad.tolist()[0] == pytest.approx([-0.8, 0.2, 0.6])


def table_of(encoder, texts):
    rows = encoder.token_ids(texts)
    starts = np.concatenate(([0], np.cumsum([len(row) for row in rows])))
    return TokenTable(np.concatenate(rows).astype(np.int32), starts, encoder.pad_token_id)


def pairs_of(encoder, *, pair_weight=None, negatives=None, weight=1.0):
    starts = lambda orders: np.concatenate(([0], np.cumsum([len(order) for order in orders])))  # noqa: E731
    hard = None
    if negatives is not None:
        product = np.array([p for order in negatives for p in order], dtype=np.int32)
        hard = HardNegatives(product, np.full(len(product), weight, dtype=np.float32), starts(negatives))
    return TrainingPairs(
        anchors=table_of(encoder, CONTEXTS),
        products=table_of(encoder, PRODUCTS),
        pair_product=np.array([p for order in ORDERS for p in order], dtype=np.int32),
        order_start=starts(ORDERS),
        pair_weight=None if pair_weight is None else np.array(pair_weight, dtype=np.float32),
        hard_negatives=hard,
    )


@pytest.fixture
def model(tiny_model):
    torch.set_num_threads(1)
    return BiEncoder(str(tiny_model), max_seq_length=64, dropout=0.0, temperature=0.1)


def losses_of(model, pairs):
    with torch.no_grad():
        return sorted(model.batch_losses(OrderDataset(pairs)[np.arange(3)]).tolist())  # a batch is sorted by length


def by_hand(model, weights=None, negative_weight=None):
    """The losses of the orders, pair by pair, from the embeddings that plain encoding gives."""
    encode = lambda texts: model.encoder.sentence_transformer.encode(  # noqa: E731
        texts, normalize_embeddings=True, convert_to_tensor=True
    )
    model.eval()
    scores = (encode(CONTEXTS) @ encode(PRODUCTS).T / 0.1).cpu()
    in_batch = {0, 1, 2} | ({3, 4} if negative_weight is not None else set())
    losses, pair = [], 0
    for order, bought in enumerate(ORDERS):
        total = sum(
            math.exp(scores[order, p]) * (negative_weight if negative_weight and p in NEGATIVES[order] else 1)
            for p in in_batch - set(bought)
        )
        each = []
        for product in bought:
            each.append((weights[pair] if weights else 1) * math.log1p(total / math.exp(scores[order, product])))
            pair += 1
        losses.append(sum(each) / len(each))
    return sorted(losses)


def test_pair_weights_multiply_the_losses_of_pairs(model):
    weights = [0.5, 2.0, 1.0, 3.0]
    found = losses_of(model, pairs_of(model.encoder, pair_weight=weights))
    assert found == pytest.approx(by_hand(model, weights), rel=1e-4)
    assert found != pytest.approx(by_hand(model), rel=1e-2)


@pytest.mark.parametrize("weight", [1.0, 4.0, 0.25])
def test_hard_negatives_join_the_batch_and_weigh_for_their_own_order(model, weight):
    found = losses_of(model, pairs_of(model.encoder, negatives=NEGATIVES, weight=weight))
    assert found == pytest.approx(by_hand(model, negative_weight=weight), rel=1e-4)


def test_training_pushes_a_hard_negative_down(model):
    pairs = pairs_of(model.encoder, negatives=[[4], [], []], weight=10.0)
    dataset = OrderDataset(pairs)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)

    def similarity():
        with torch.no_grad():
            first, product = (
                model([table.padded(np.array([row]))]) for table, row in ((pairs.anchors, 0), (pairs.products, 4))
            )
            return float((first * product).sum())

    before = similarity()
    for _ in range(20):
        optimizer.zero_grad()
        model.batch_losses(dataset[np.arange(1)]).mean().backward()
        optimizer.step()
    assert similarity() < before - 0.1
