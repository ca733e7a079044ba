"""Files of a ranker that are damaged in ways of their own: each is one error that says what to do."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from lit_rec.artifacts.model_record import ranker_record
from lit_rec.core import schema
from lit_rec.core.errors import ModelFolderError
from lit_rec.data.contexts import product_text
from lit_rec.ranking.item_item import ItemItemModel
from lit_rec.ranking.network import RankerNetwork
from lit_rec.ranking.product_statistics import ProductStatistics, aisles_of
from lit_rec.ranking.ranker import Ranker

CORPUS = {str(row): product_text(f"Product {row}", "aisle", "food") for row in range(9)}
ALIKE = np.ones((len(CORPUS), 1), dtype=np.float32)  # embeddings, which tell nothing apart


@pytest.fixture
def saved(build, tmp_path):
    training, aisle = build.histories(*build.users(10, len(CORPUS), seed=1)), aisles_of(list(CORPUS.values()))
    known = ProductStatistics.fit(training, aisle), ItemItemModel.fit(training, aisle)
    Ranker(RankerNetwork(4, 1, 0.0).to_numpy(), *known, list(CORPUS), {}).save(tmp_path)
    return tmp_path


def without_tensor(name):
    def damage(folder):
        tensors = load_file(folder / schema.RANKER_WEIGHTS)
        save_file({key: value for key, value in tensors.items() if key != name}, folder / schema.RANKER_WEIGHTS)

    return damage


def other_tensor(name):
    def damage(folder):
        tensors = load_file(folder / schema.RANKER_WEIGHTS)
        save_file(tensors | {name: tensors[name][:, 1:].contiguous()}, folder / schema.RANKER_WEIGHTS)

    return damage


def with_record(change):
    def damage(folder):
        record = json.loads((folder / schema.RANKER).read_text(encoding="utf-8"))
        (folder / schema.RANKER).write_text(json.dumps(change(record)), encoding="utf-8")

    return damage


def weights_of_another_training(folder):
    """As a kill leaves them between the two files."""
    tensors = load_file(folder / schema.RANKER_WEIGHTS)
    save_file(
        tensors | {"network.calibration_scale": tensors["network.calibration_scale"] + 1},
        folder / schema.RANKER_WEIGHTS,
    )


def truncate(folder):
    content = (folder / schema.RANKER_WEIGHTS).read_bytes()
    (folder / schema.RANKER_WEIGHTS).write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda folder: (folder / schema.RANKER_WEIGHTS).unlink(), id="no weights"),
        pytest.param(weights_of_another_training, id="weights of another training"),
        pytest.param(lambda folder: (folder / schema.RANKER).unlink(), id="no record"),
        pytest.param(truncate, id="half of the weights"),
        pytest.param(without_tensor("network.calibration_scale"), id="a weight is missing"),
        pytest.param(without_tensor("catalogue.statistics"), id="no statistics"),
        pytest.param(without_tensor("catalogue.cosine"), id="no cosines"),
        pytest.param(with_record(lambda _: []), id="a list"),
        pytest.param(with_record(lambda record: record | {"product_ids": record["product_ids"][:-1]}), id="other ids"),
        pytest.param(with_record(lambda record: record | {"explore_features": []}), id="other features"),
        pytest.param(without_tensor("network.explore.members.0.3.weight"), id="a layer is missing"),
        pytest.param(other_tensor("network.repeat.members.0.0.weight"), id="a layer of another width"),
        pytest.param(
            with_record(lambda record: {key: value for key, value in record.items() if key != "product_ids"}),
            id="no ids",
        ),
    ],
)
def test_damage_is_an_error_that_says_what_to_do(saved, damage):
    Ranker.load(saved, CORPUS, ALIKE)
    damage(saved)
    with pytest.raises(ModelFolderError, match=r"The ranker of .* cannot be loaded: .*Run fit_ranker again"):
        Ranker.load(saved, CORPUS, ALIKE)


def test_another_order_of_the_catalogue_gives_each_product_its_own(saved, build):
    shuffled = ["7", "2", "8", "0", "1", "6", "5", "3", "4"]
    other = Ranker.load(saved, {product_id: CORPUS[product_id] for product_id in shuffled}, ALIKE)
    # One product an order: what ties within an order is ranked as the catalogue stands.
    users = [[], *([order[:1] for order in orders] for orders in build.users(8, len(CORPUS), seed=2))]
    moved = [[[shuffled.index(str(one)) for one in order] for order in orders] for orders in users]
    expected = Ranker.load(saved, CORPUS, ALIKE).scores(build.histories(*users))
    found = other.scores(build.histories(*moved))[:, [shuffled.index(product_id) for product_id in CORPUS]]
    assert found == pytest.approx(expected, abs=1e-5)


def test_a_catalogue_of_fewer_products_is_scored_too(saved, build):
    fewer = dict(list(CORPUS.items())[::2])
    scores = Ranker.load(saved, fewer, ALIKE[: len(fewer)]).scores(build.histories(*build.users(8, len(fewer), seed=2)))
    assert scores.shape == (8, len(fewer))


def test_a_catalogue_without_any_product_of_its_own_is_an_error(saved):
    with pytest.raises(ModelFolderError, match="knows no product of this catalogue"):
        Ranker.load(saved, {f"x{row}": text for row, text in enumerate(CORPUS.values())}, ALIKE)


def test_a_kill_between_the_two_files_is_noticed(saved, build, monkeypatch):
    """The record goes first: an old one without a hash is never left beside new weights."""
    record = json.loads((saved / schema.RANKER).read_text(encoding="utf-8"))
    del record["weights_sha256"]  # as an older version wrote it
    (saved / schema.RANKER).write_text(json.dumps(record), encoding="utf-8")
    ranker = Ranker.load(saved, CORPUS, ALIKE)
    ranker.network.arrays["calibration_scale"][...] += 1

    replace = Path.replace

    def killed(unfinished, place):
        if place.name == schema.RANKER_WEIGHTS:
            raise KeyboardInterrupt
        return replace(unfinished, place)

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        ranker.save(saved)
    with pytest.raises(ModelFolderError, match=r"ranker\.safetensors is not what ranker\.json was written with"):
        ranker_record(saved)


def test_its_weights_can_be_read_by_others(saved):
    assert (saved / schema.RANKER_WEIGHTS).stat().st_mode == (saved / schema.RANKER).stat().st_mode
