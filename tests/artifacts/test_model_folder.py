"""The processed folder and the catalogue that a model belongs to, and how its contexts are written."""

import json
import os
from pathlib import Path

import pytest

from lit_rec.artifacts.model_folder import (
    check_catalogue,
    context_form,
    processed_folder_of,
    product_digests,
)
from lit_rec.core import schema
from lit_rec.core.errors import CatalogueError, ModelFolderError, NotPreparedError, SettingError
from lit_rec.core.files import write_json
from lit_rec.data.contexts import ContextForm
from lit_rec.data.processed import content_hashes


def folder_of(tmp_path: Path, record: object, ranker: object = None) -> Path:
    (tmp_path / schema.MODEL_RECORD).write_text(json.dumps(record), encoding="utf-8")
    if ranker is not None:
        (tmp_path / schema.RANKER).write_text(json.dumps(ranker), encoding="utf-8")
    return tmp_path


CORPUS = {str(row): f"Product: {row}." for row in range(20)}


def prepared(folder: Path, corpus: dict[str, str], **params: object) -> Path:
    folder.mkdir(parents=True)
    write_json(folder / schema.EVAL_CORPUS, corpus)
    write_json(folder / schema.PARAMS, {"sha256": content_hashes(folder), **params})
    return folder


def trained_on(folder: Path, model: Path, **record: object) -> str:
    model.mkdir()
    sha256 = json.loads((folder / schema.PARAMS).read_text())["sha256"]
    return str(folder_of(model, {"data": {"processed_dir": str(folder), "sha256": sha256}, **record}))


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """A model of a shop, and a newer folder of another shop in processed."""
    monkeypatch.chdir(tmp_path)
    own = prepared(Path("processed/own"), CORPUS, max_prior_orders=3)
    other = prepared(Path("processed/other"), {key: f"Product: other {key}." for key in CORPUS})
    for path, second in ((own, 1_000), (other, 2_000)):
        os.utime(path / schema.PARAMS, (second, second))
    return own, other, trained_on(own, tmp_path / "model")


def test_without_a_name_a_models_own_folder_is_taken_and_not_the_newest(shop, tmp_path, caplog):
    own, other, model = shop
    caplog.set_level("INFO", logger="lit_rec")
    assert processed_folder_of([model]).path == own
    assert f"Using {own}, which {model} was trained on" in caplog.text
    assert processed_folder_of([model], other).path == other
    (tmp_path / "base").mkdir()
    base = str(tmp_path / "base")
    assert processed_folder_of([base]).path == processed_folder_of([]).path == other
    assert processed_folder_of([base, model]).path == own


def test_a_folder_that_is_gone_is_named(shop, monkeypatch, tmp_path):
    monkeypatch.chdir("/")
    with pytest.raises(NotPreparedError, match=r"trained on processed/own: there is no such processed folder in /\. "):
        processed_folder_of([shop[2]])


def test_a_folder_that_was_prepared_anew_is_not_the_models_own(shop):
    own, _, model = shop
    write_json(own / schema.PARAMS, {"sha256": {"eval_queries.json": "of other users"}})
    with pytest.raises(NotPreparedError, match=r"prepared anew since.*--processed_dir"):
        processed_folder_of([model])
    assert processed_folder_of([model], own).path == own


def test_models_of_several_folders_have_none_in_common(shop, tmp_path):
    _, other, model = shop
    second = trained_on(other, tmp_path / "second")
    with pytest.raises(
        SettingError, match=r"model on processed/own, .*second on processed/other. Name a --processed_dir"
    ):
        processed_folder_of([model, second])
    assert processed_folder_of([model, model]).path == shop[0]


def with_catalogue(model: Path) -> Path:
    write_json(model / schema.MODEL_CATALOGUE, product_digests(CORPUS))
    return model


OTHER_SHOPS = {
    "other ids": {f"x{key}": text for key, text in CORPUS.items()},
    "the same ids by chance": {key: f"Product: other {key}." for key in CORPUS},
    "more of it than of ours": dict(list(CORPUS.items())[:9]) | {f"x{row}": "Product: x." for row in range(100)},
}


@pytest.mark.parametrize("kind", OTHER_SHOPS)
@pytest.mark.parametrize("way", ["recorded", "of an earlier version"])
def test_the_catalogue_of_another_shop_is_refused(kind, way, shop):
    model = Path(shop[2]) if way == "of an earlier version" else with_catalogue(folder_of(Path(shop[2]), {}))
    with pytest.raises(CatalogueError, match=r"mine.json is not the catalogue of this model: .*train on this one"):
        check_catalogue(model, OTHER_SHOPS[kind], "mine.json")


def test_where_only_the_rankers_ids_are_known_they_decide(tmp_path):
    folder = folder_of(tmp_path, {}, {"product_ids": list(CORPUS)})
    check_catalogue(folder, OTHER_SHOPS["the same ids by chance"], "mine.json")
    with pytest.raises(CatalogueError, match="is not the catalogue"):
        check_catalogue(folder, OTHER_SHOPS["other ids"], "mine.json")


def test_what_has_changed_in_the_models_own_catalogue_is_said(tmp_path, caplog):
    changed = {**CORPUS, "3": "Product: three.", "new": "Product: new."}
    del changed["5"], changed["6"]
    check_catalogue(with_catalogue(tmp_path), changed, "mine.json")
    assert caplog.messages == [
        "Products of mine.json: 1 are new to the model, 1 have another text than in training, 2 of training are missing"
    ]


@pytest.mark.parametrize("corpus", [CORPUS, dict(reversed(CORPUS.items()))])
def test_nothing_is_said_of_the_models_own_catalogue(corpus, tmp_path, caplog):
    check_catalogue(with_catalogue(tmp_path), corpus, "mine.json")
    assert caplog.messages == []


def test_a_part_of_the_catalogue_and_one_that_has_grown_are_the_models_own(tmp_path):
    model = with_catalogue(tmp_path)
    check_catalogue(model, dict(list(CORPUS.items())[:2]), "one store")
    check_catalogue(model, CORPUS | {f"new {row}": "Product: new." for row in range(100)}, "next year")


def test_a_base_model_takes_any_catalogue(tmp_path):
    check_catalogue(tmp_path, CORPUS, "mine.json")


def test_a_damaged_record_is_named(tmp_path):
    (tmp_path / schema.MODEL_CATALOGUE).write_text("[1, 2]")
    with pytest.raises(ModelFolderError, match=r"catalogue of .* cannot be read"):
        check_catalogue(tmp_path, CORPUS, "mine.json")
    (tmp_path / schema.MODEL_RECORD).write_text("{")
    with pytest.raises(ModelFolderError, match=r"lit_rec.json cannot be read"):
        context_form(tmp_path)


def test_the_form_of_contexts_is_the_recorded_one(tmp_path):
    recorded = {"max_prior_orders": 2, "max_product_names": 7, "truncate": "keep_oldest", "next_segment": True}
    assert context_form(folder_of(tmp_path, {"context": recorded})) == ContextForm(2, 7, "keep_oldest", "always")


def test_a_model_of_an_earlier_version_writes_contexts_as_its_processed_folder_if_that_is_there(shop, caplog):
    own, _, model = shop
    assert context_form(Path(model)) == ContextForm(max_prior_orders=3)
    assert caplog.messages == []
    (own / schema.PARAMS).unlink()
    assert context_form(Path(model)) == ContextForm()
    (said,) = caplog.messages
    assert "so the defaults are taken" in said


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, ContextForm()),
        ({"next_order_in_context": "always", "seed": 3}, ContextForm(next_order_in_context="always")),
        ({"max_prior_orders": 2, "truncate": "keep_oldest"}, ContextForm(2, truncate="keep_oldest")),
    ],
)
def test_contexts_at_serving_are_like_the_queries_that_were_measured(params, expected):
    assert ContextForm.from_record(params) == expected
