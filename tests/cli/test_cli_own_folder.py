"""Commands without ``--processed_dir``: the folder that the model was trained on, whatever was prepared since."""

import json
import os
import shutil
from pathlib import Path

import pytest

from lit_rec.artifacts.model_folder import product_digests
from lit_rec.cli.main import main
from lit_rec.core import schema
from lit_rec.core.errors import CatalogueError, NotPreparedError
from lit_rec.core.files import read_json, write_json
from lit_rec.data.processed import ProcessedFolder
from lit_rec.packaging.bundle import Bundle
from lit_rec.store.database import Exposure, FeedbackStore, url_of
from lit_rec.store.events import FeedbackEvent

QUICK = ["--hidden_size", "8", "--ensemble_size", "1", "--max_epochs", "1", "--targets_per_user", "1"]


@pytest.fixture
def shop(processed_dir, tiny_model, tmp_path, monkeypatch):
    """A model of one shop, and a newer folder of another one, whose ids are the same by chance."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "400")
    own, other = (Path(shutil.copytree(processed_dir, Path("processed") / name)) for name in ("own", "other"))
    corpus = read_json(own / schema.EVAL_CORPUS)
    write_json(other / schema.EVAL_CORPUS, {product_id: f"Product: bolt {product_id}." for product_id in corpus})
    params = read_json(other / schema.PARAMS)
    write_json(other / schema.PARAMS, params | {"sha256": params["sha256"] | {schema.EVAL_CORPUS: "another"}})
    for folder, second in ((own, 1_000), (other, 2_000)):
        os.utime(folder / schema.PARAMS, (second, second))
    model = Path(shutil.copytree(tiny_model, "models/mine/final"))
    data = {"processed_dir": str(own), "sha256": ProcessedFolder(own).sha256}
    record = {"data": data, "global_step": 1, "metrics": {"epoch 0": {"step": 1, "ndcg@10": 0.1}}}
    write_json(model / schema.MODEL_RECORD, record)
    write_json(model / schema.MODEL_CATALOGUE, product_digests(corpus))
    return str(model), own, other


def test_recommend_takes_the_models_own_and_refuses_another(shop, capsys):
    model, _, other = shop
    main(["recommend", "--model_dir", model, "--n_samples", "2", "--use_index", "false"])
    assert "Product: bolt" not in capsys.readouterr().out
    with pytest.raises(CatalogueError, match="is not the catalogue of this model"):
        main(["recommend", "--model_dir", model, "--processed_dir", str(other), "--use_index", "false"])


def test_fit_ranker_takes_the_models_own_and_refuses_another_before_any_work(shop):
    model, own, other = shop
    main(["fit_ranker", "--model_dir", model, *QUICK])
    assert read_json(Path(model) / schema.RANKER)["data"]["processed_dir"] == str(own.absolute())
    written = (Path(model) / schema.RANKER).stat().st_mtime_ns
    with pytest.raises(CatalogueError, match="is not the catalogue of this model"):
        main(["fit_ranker", "--model_dir", model, "--processed_dir", str(other), *QUICK])
    assert (Path(model) / schema.RANKER).stat().st_mtime_ns == written


def test_evaluate_and_compare_take_the_models_own(shop, tiny_model):
    model, own, _ = shop
    words = ["--model_dir", model, "--device", "cpu"]
    assert main(["evaluate", *words, "--n_resamples", "50"])["processed_dir"] == str(own)
    assert main(["compare", *words, "--base_model", str(tiny_model)])["processed_dir"] == str(own)


def test_package_takes_the_models_own_and_refuses_another(shop):
    model, own, other = shop
    main(["package", "--model_dir", model, "--output_dir", "bundle", "--n_users", "0"])
    assert (Bundle.load("bundle").folder / "corpus.json").read_bytes() == (own / schema.EVAL_CORPUS).read_bytes()
    corpus = ["--corpus", str(other / schema.EVAL_CORPUS)]
    with pytest.raises(CatalogueError, match="is not the catalogue of this model"):
        main(["package", "--model_dir", model, *corpus, "--output_dir", "second", "--n_users", "0"])
    assert not Path("second").exists()


def test_to_pairs_makes_pairs_of_what_was_served(shop):
    _, own, _ = shop
    bought = next(iter(read_json(own / schema.EVAL_CORPUS)))
    store = FeedbackStore(url_of("feedback.db"))
    store.record_exposures([Exposure("r1", [bought], [0.9], "m", context="[w1h9] Milk.")])
    kinds = ("impression", "purchase")
    store.record([FeedbackEvent(event_type=kind, request_id="r1", product_id=bought) for kind in kinds])
    store.close()
    main(["feedback", "to-pairs", "--db_path", "feedback.db"])  # of the newest model, since none is named
    assert read_json(Path("feedback_pairs") / schema.FEEDBACK_PARAMS)["processed_dir"] == str(own)


def test_where_the_models_own_folder_is_gone_no_other_is_taken_in_its_place(shop):
    model, own, _ = shop
    shutil.rmtree(own)
    commands = [["recommend"], ["fit_ranker"], ["evaluate"], ["compare"], ["package"]]
    for command in [*commands, ["feedback", "simulate"]]:
        with pytest.raises(NotPreparedError, match=r"trained on processed/own: there is no such processed folder"):
            main([*command, "--model_dir", model])


def test_a_corpus_of_its_own_needs_no_processed_folder(shop, capsys):
    model, own, _ = shop
    corpus = Path(shutil.copy(own / schema.EVAL_CORPUS, "mine.json"))
    shutil.rmtree(own)
    main(["recommend", "--model_dir", model, "--corpus", str(corpus), "--query", "milk", "--top_k", "1"])
    assert json.loads(corpus.read_text()).keys() & set(capsys.readouterr().out.split())


def test_what_is_measured_or_gone_on_with_is_measured_on_its_own_data(shop, tiny_model):
    model, own, _ = shop
    words = ["--model.max_seq_length", "48", "--trainer.accelerator", "cpu", "--trainer.precision", "32-true"]
    words += ["--trainer.limit_train_batches", "1", "--trainer.log_every_n_steps", "1", "--wandb", "off"]
    base = ["--model.base_model", str(tiny_model)]
    main(["fit", *base, *words, "--data.processed_dir", str(own), "--output_dir", "run"])
    checkpoint = ["--ckpt_path", "run/checkpoints/last.ckpt"]
    runs = [
        ["test", *checkpoint],
        ["validate", *checkpoint],
        ["fit", *checkpoint],
        ["test", "--model.base_model", model, *words[:2]],
    ]
    for command, *rest in runs:
        more = words[2:] if command == "fit" else [*words[2:6], *words[-2:]]
        second = main([command, *rest, *more, "--output_dir", f"second {command}"])
        assert second.datamodule.folder.path.absolute() == own.absolute()
