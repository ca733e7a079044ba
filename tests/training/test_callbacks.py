import json
import math
import signal
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from datasets import load_from_disk
from lightning.pytorch import Trainer
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator

from lit_rec.cli.main import main
from lit_rec.core.errors import FileError
from lit_rec.core.schema import Split
from lit_rec.data.processed import ProcessedFolder
from lit_rec.inference.recommender import Recommender
from lit_rec.training.export import export_model
from lit_rec.training.lightning_cli import TrainingCLI
from lit_rec.training.retrieval_evaluation import CatalogueSearch
from lit_rec.training.stop_on_signal import StopOnSignal


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    """A model this small is slower with more."""
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def data(processed_dir: Path) -> list[str]:
    """Small batches: the catalogue and the queries both come in several."""
    options = [
        "--data.eval_batch_size",
        "6",
        "--trainer.log_every_n_steps",
        "1",
        "--trainer.accelerator",
        "cpu",
        "--trainer.precision",
        "32-true",
    ]
    return ["--data.processed_dir", str(processed_dir), *options]


@pytest.fixture(scope="module")
def run(data: list[str], tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingCLI:
    """An epoch of training, then a test of its last checkpoint into the same folder."""
    folder = tmp_path_factory.mktemp("run")
    model = ["--model.base_model", str(tiny_model), "--model.max_seq_length", "48", "--model.learning_rate", "1e-2"]
    options = ["--data.batch_size", "4", "--wandb", "off", "--output_dir", str(folder)]
    cli = main(["fit", *model, *data, *options])
    main(["test", *data, "--output_dir", str(folder), "--ckpt_path", str(folder / "checkpoints" / "last.ckpt")])
    assert isinstance(cli, TrainingCLI)
    return cli


@pytest.fixture(scope="module")
def model_dir(run: TrainingCLI) -> Path:
    return export_model(run.output_dir / "checkpoints" / "last.ckpt", run.output_dir / "final")


def logged(run: TrainingCLI, split: Split) -> dict[str, float]:
    if split == Split.VAL:
        return run.evaluation.results["epoch 0"]
    (result,) = json.loads((run.output_dir / "test_metrics.json").read_text()).values()
    return result


def queries_of(folder: ProcessedFolder, split: Split) -> dict[str, str]:
    history = load_from_disk(folder.path / "eval_history")
    ids = {str(row["query_id"]) for row in history if row["split"] == split}
    return {query_id: text for query_id, text in folder.queries.items() if query_id in ids}


def history_of(folder: ProcessedFolder) -> dict[str, set[str]]:
    rows = load_from_disk(folder.path / "eval_history")
    return {str(row["query_id"]): {str(product) for product in row["history_product_ids"]} for row in rows}


@pytest.mark.parametrize("split", [Split.VAL, Split.TEST])
def test_what_is_logged_is_what_brute_force_finds(
    split: Split, run: TrainingCLI, model_dir: Path, processed_dir: Path
) -> None:
    """Plain loops over a sort of all products, from embeddings that SentenceTransformer itself makes."""
    folder, model = ProcessedFolder(processed_dir), SentenceTransformer(str(model_dir), device="cpu")
    queries, history = queries_of(folder, split), history_of(folder)
    assert len(queries) > 6, "more than a batch"
    products = list(folder.corpus)
    scores = model.encode(list(queries.values())) @ model.encode(list(folder.corpus.values())).T
    found: dict[str, list[float]] = {
        name: [] for name in ("accuracy@1", "recall@10", "mrr@10", "ndcg@10", "repeat_recall@10", "explore_recall@20")
    }
    shown = set()
    for row, query_id in zip(scores, queries, strict=True):
        ranked = [products[position] for position in np.argsort(-row, kind="stable")]
        wanted = set(folder.relevant_docs[query_id])
        hits = [product in wanted for product in ranked]
        shown |= set(ranked[:10])
        found["accuracy@1"].append(hits[0])
        found["recall@10"].append(sum(hits[:10]) / len(wanted))
        found["mrr@10"].append(next((1 / rank for rank, hit in enumerate(hits[:10], 1) if hit), 0))
        gain = sum(1 / math.log2(rank + 1) for rank, hit in enumerate(hits[:10], 1) if hit)
        found["ndcg@10"].append(gain / sum(1 / math.log2(rank + 1) for rank in range(1, min(len(wanted), 10) + 1)))
        if repeated := wanted & history[query_id]:
            found["repeat_recall@10"].append(len(repeated & set(ranked[:10])) / len(repeated))
        if explored := wanted - history[query_id]:
            found["explore_recall@20"].append(len(explored & set(ranked[:20])) / len(explored))
    expected = {name: sum(values) / len(values) for name, values in found.items()}
    expected |= {"coverage@10": len(shown) / len(products), "n_queries": len(queries)}
    assert {name: logged(run, split)[name] for name in expected} == pytest.approx(expected, abs=1e-6)
    assert expected["ndcg@10"] > 0.05


@pytest.mark.parametrize("split", [Split.VAL, Split.TEST])
def test_what_is_logged_is_what_sentence_transformers_evaluates(
    split: Split, run: TrainingCLI, model_dir: Path, processed_dir: Path
) -> None:
    folder = ProcessedFolder(processed_dir)
    queries = queries_of(folder, split)
    evaluator = InformationRetrievalEvaluator(
        queries,
        folder.corpus,
        {query_id: set(folder.relevant_docs[query_id]) for query_id in queries},
        precision_recall_at_k=[1, 3, 5, 10, 20, 100],
        write_csv=False,
    )
    theirs = evaluator(SentenceTransformer(str(model_dir), device="cpu"))
    names = ["accuracy@1", "accuracy@10", "precision@5", "recall@10", "recall@100", "mrr@10", "ndcg@10", "map@100"]
    ours = {name: logged(run, split)[name] for name in names}
    assert ours == pytest.approx({name: theirs[f"cosine_{name}"] for name in names}, abs=1e-6)


def test_the_untrained_model_is_measured_first(run: TrainingCLI, data: list[str], tiny_model: Path, tmp_path) -> None:
    model = ["--model.base_model", str(tiny_model), "--model.max_seq_length", "48"]
    untrained = main(["validate", *model, *data, "--output_dir", str(tmp_path)]).trainer.callback_metrics
    first = dict(run.evaluation.results["untrained"])
    assert first.pop("step") == 0
    assert {f"val/{name}": value for name, value in first.items()} == pytest.approx(
        {name: value.item() for name, value in untrained.items()}, abs=1e-6
    )


def test_a_sanity_check_of_a_part_is_no_measurement(data: list[str], tiny_model: Path, tmp_path: Path) -> None:
    model = ["--model.base_model", str(tiny_model), "--model.max_seq_length", "48", "--wandb", "off"]
    part = ["--trainer.num_sanity_val_steps", "1", "--trainer.limit_train_batches", "1", "--output_dir", str(tmp_path)]
    assert list(main(["fit", *model, *data, *part]).evaluation.results) == ["epoch 0"]


def test_the_learning_curve_is_a_picture_of_losses_and_evaluations(run: TrainingCLI) -> None:
    picture = (run.output_dir / "learning_curve.png").read_bytes()
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    (curve,) = [callback for callback in run.trainer.callbacks if type(callback).__name__ == "LearningCurve"]
    steps = [step for step, _ in curve.losses]
    assert steps == list(range(5, run.trainer.global_step + 1, 5))
    assert curve.losses[-1][1] < curve.losses[0][1]


@pytest.mark.filterwarnings("ignore:`ModelCheckpoint.monitor='val/ndcg@10'.` could not find the monitored key")
def test_losses_of_a_step_are_noted_once_however_many_batches_it_takes(
    data: list[str], tiny_model: Path, tmp_path: Path
) -> None:
    model = ["--model.base_model", str(tiny_model), "--model.max_seq_length", "48", "--wandb", "off"]
    options = ["--data.batch_size", "2", "--trainer.accumulate_grad_batches", "4", "--trainer.limit_val_batches", "0"]
    cli = main(["fit", *model, *data, *options, "--output_dir", str(tmp_path), "--trainer.max_steps", "11"])
    (curve,) = [callback for callback in cli.trainer.callbacks if type(callback).__name__ == "LearningCurve"]
    assert [step for step, _ in curve.losses] == [5, 10]


def test_predictions_are_what_the_recommender_answers(
    run: TrainingCLI, model_dir: Path, data: list[str], processed_dir: Path
) -> None:
    folder = ProcessedFolder(processed_dir)
    stale = run.output_dir / "predictions" / "part-00007.parquet"
    stale.parent.mkdir()
    stale.write_text("of an earlier run with more processes")
    (stale.parent / "notes.txt").touch()  # not ours
    checkpoint = ["--ckpt_path", str(run.output_dir / "checkpoints" / "last.ckpt")]
    main(["predict", *data, *checkpoint, "--output_dir", str(run.output_dir), "--predict_top_k", "12"])
    assert sorted(file.name for file in stale.parent.iterdir()) == ["notes.txt", "part-00000.parquet"]
    table = pq.read_table(stale.with_name("part-00000.parquet")).to_pydict()
    assert list(table) == ["query_id", "rank", "product_id", "score"]
    assert sorted(set(table["query_id"])) == sorted(folder.queries)
    assert len(table["rank"]) == 12 * len(folder.queries)

    recommender = Recommender(model_dir, processed_dir / "eval_corpus.json", use_index=False, device="cpu")
    answers = recommender.recommend_many(list(folder.queries.values()), len(folder.corpus))
    for query_id, answer in zip(folder.queries, answers, strict=True):
        rows = [row for row, found in enumerate(table["query_id"]) if found == query_id]
        assert [table["rank"][row] for row in rows] == list(range(1, 13))
        predicted = [table["score"][row] for row in rows]
        assert predicted == pytest.approx([item.score for item in answer[:12]], abs=1e-5)
        score_of = {item.product_id: item.score for item in answer}  # two that tie to 1e-6 may change places
        assert predicted == pytest.approx([score_of[table["product_id"][row]] for row in rows], abs=1e-5)
        assert len({table["product_id"][row] for row in rows}) == 12


def test_a_prediction_that_breaks_off_leaves_the_files_of_before(
    run: TrainingCLI, data: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*_args: object) -> None:
        raise OSError(28, "No space left on device")

    before = tmp_path / "predictions" / "part-00000.parquet"
    before.parent.mkdir()
    before.write_text("of before")
    monkeypatch.setattr("lit_rec.training.prediction_writer.pq.write_table", full_disk)
    checkpoint = ["--ckpt_path", str(run.output_dir / "checkpoints" / "last.ckpt")]
    with pytest.raises(FileError, match=r"predict could not go on: .*No space left on device"):
        main(["predict", *data, *checkpoint, "--output_dir", str(tmp_path)])
    assert before.read_text() == "of before"
    assert list(before.parent.iterdir()) == [before]


def test_more_ranks_than_products_are_all_products(
    run: TrainingCLI, data: list[str], processed_dir: Path, tmp_path
) -> None:
    folder = ProcessedFolder(processed_dir)
    checkpoint = ["--ckpt_path", str(run.output_dir / "checkpoints" / "last.ckpt")]
    main(["predict", *data, *checkpoint, "--output_dir", str(tmp_path), "--predict_top_k", "1000"])
    table = pq.read_table(tmp_path / "predictions")
    assert table.num_rows == len(folder.queries) * len(folder.corpus)


def test_a_search_ranks_by_score_then_by_place_in_the_catalogue(run: TrainingCLI) -> None:
    search = CatalogueSearch(n_products=4, n_batches=2)
    search.add_products(run.trainer, 0, torch.tensor([3, 0]), torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
    search.add_products(run.trainer, 1, torch.tensor([1, 2]), torch.tensor([[1.0, 0.0], [0.6, 0.8]]))
    scores, ranked = search.search(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), 3)
    assert ranked.tolist() == [[0, 1, 2], [3, 2, 0]]
    assert scores.flatten().tolist() == pytest.approx([1, 1, 0.6, 1, 0.8, 0])


def test_a_try_that_is_told_to_end_leaves_the_checkpoints_of_a_run_alone(tmp_path):
    trainer = Trainer(fast_dev_run=True, accelerator="cpu", logger=False)
    stop = StopOnSignal(tmp_path / "last.ckpt", "resume")
    stop._received = signal.SIGTERM
    with pytest.raises(SystemExit) as ended:
        stop.on_train_epoch_end(trainer, trainer.lightning_module)
    assert ended.value.code == 143
    assert not (tmp_path / "last.ckpt").exists()
