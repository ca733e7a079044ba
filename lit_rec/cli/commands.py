"""What each command does: call the room that knows how, and say what to run next.

Docstrings are what ``--help`` prints. Heavy imports wait until a command runs.
"""

import logging
import random
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lit_rec.artifacts.hub import PushSettings
from lit_rec.artifacts.hub import push as push_model
from lit_rec.artifacts.model_folder import newest_model, processed_folder_of
from lit_rec.core import schema
from lit_rec.core.bounds import NonNegativeInt
from lit_rec.core.errors import LitRecError
from lit_rec.core.files import read_json
from lit_rec.core.next_steps import command, config_for, flags, print_next_steps
from lit_rec.data.processed import ProcessedFolder
from lit_rec.data.settings import PrepareSettings, RawData
from lit_rec.evaluation.settings import ComparisonSettings, EvaluationSettings
from lit_rec.packaging.settings import PackageSettings
from lit_rec.ranking.settings import RankerSettings

if TYPE_CHECKING:
    from lit_rec.inference.recommender import Recommendation, Recommender  # seconds to import

logger = logging.getLogger(__name__)


def prepare(settings: PrepareSettings, raw: RawData, overwrite: bool = False) -> Path:
    """Turn raw orders into a processed folder: pairs, queries, corpus, relevance, history.

    Args:
        settings: how pairs and queries are made.
        raw: where raw orders are, and where the folder goes.
        overwrite: replace a folder of the same name that was made from other input.

    Returns:
        The processed folder.
    """
    from lit_rec.data.prepare import prepare as prepare_raw

    folder = prepare_raw(raw, settings, overwrite=overwrite)
    made = ProcessedFolder(folder).params
    if not made["n_train_pairs"]:
        from lit_rec.evaluation.tables import evaluate_command

        model = newest_model()
        print_next_steps(evaluate_command(ProcessedFolder(folder), *(["--model_dir", model] if model else [])))
        return folder
    unchecked = [] if made["n_val_queries"] else ["--trainer.limit_val_batches", "0", "--early_stopping", "null"]
    print_next_steps(command("fit", *config_for(raw.source), "--data.processed_dir", folder, *unchecked))
    return folder


def recommend(
    model_dir: str | None = None,
    processed_dir: Path | None = None,
    corpus: Path | None = None,
    query: str | None = None,
    eval_query_id: str | int | None = None,
    n_samples: NonNegativeInt = 0,
    top_k: int = 10,
    use_index: bool = True,
    device: str | None = None,
) -> None:
    """Rank the catalogue for a context and print the best products.

    Each of --query, --eval_query_id and --n_samples that is given is answered; without any a demo context is.

    Args:
        model_dir: a model folder or a hub id; by default the newest models/*/final.
        processed_dir: a processed folder, or one that holds some; by default the one that the model was trained on,
            or for a base model the newest in processed.
        corpus: JSON file, product id to text; by default that of the processed folder. One that shares less than half
            of its products with the model's is refused.
        query: a context such as '[+7d w4h14] Organic Milk, Whole Wheat Bread.', or any text.
        eval_query_id: a held-out order of the processed folder; what was really bought is shown beside it.
        n_samples: this many held-out orders, drawn by a fixed seed.
        top_k: how many products.
        use_index: keep the catalogue's embeddings beside the corpus, and take them from there.
        device: cuda, mps or cpu; by default INFERENCE_DEVICE, or the best there is.
    """
    from lit_rec.evaluation.tables import print_recommendations
    from lit_rec.inference.recommender import DEMO_QUERY, Recommender

    model = model_dir or _newest_model()
    folder = ProcessedFolder(corpus.parent) if corpus else processed_folder_of([model], processed_dir)
    query_ids = [str(eval_query_id)] if eval_query_id is not None else []
    if n_samples and not folder.queries:
        logger.warning("No order is held out in %s, so there is none to show", folder.path)
    if n_samples:
        query_ids += random.Random(0).sample(sorted(folder.queries), min(n_samples, len(folder.queries)))
    contexts = {query_id: folder.query(query_id) for query_id in query_ids}
    recommender = Recommender(
        model, corpus or folder.path / schema.EVAL_CORPUS, use_index=use_index, device=device, show_progress=True
    )
    for query_id, context in contexts.items():
        bought = folder.relevant_docs.get(query_id, [])
        answer = _recommended(recommender, folder, query_id, context, top_k)
        print_recommendations(f"Held-out order {query_id}", context, answer, recommender.corpus, bought)
    if query is not None or not contexts:
        title = "Query" if query is not None else "No --query or --eval_query_id given: a demo query"
        text = query if query is not None else DEMO_QUERY
        print_recommendations(title, text, recommender.recommend(text, top_k), recommender.corpus)


def _recommended(
    recommender: "Recommender", folder: ProcessedFolder, query_id: str, context: str, top_k: int
) -> "list[Recommendation]":
    """A held-out user's recommendations: a ranker is given the whole history, not what the context shows of it."""
    if recommender.ranker is None or not (folder.path / schema.EVAL_HISTORY).is_dir():
        return recommender.recommend(context, top_k)
    from lit_rec.data.histories import Queries
    from lit_rec.data.history_files import read_eval_histories

    return recommender.rank(Queries([context], read_eval_histories(folder, [query_id])), top_k)[0]


def fit_ranker(settings: RankerSettings, model_dir: Path, processed_dir: Path | None = None) -> dict[str, float]:
    """Train the repeat-explore ranker of a model folder on the histories of a processed folder.

    Args:
        settings: how.
        model_dir: a model folder that export wrote; the ranker goes in.
        processed_dir: a processed folder, or one that holds some; by default the one that the model was trained on.

    Returns:
        Metrics of the validation queries.
    """
    from rich.console import Console

    from lit_rec.evaluation.tables import VALIDATION_TITLE, metrics_table, ranker_commands
    from lit_rec.ranking.training import fit_ranker as fit

    folder = processed_folder_of([str(model_dir)], processed_dir)
    metrics = fit(folder, model_dir, settings)
    if metrics:
        Console().print(metrics_table({"ranker": metrics}, VALIDATION_TITLE))
    print_next_steps(*ranker_commands(folder, model_dir))
    return metrics


def export(ckpt_path: Path, output_dir: Path) -> Path:
    """Turn a checkpoint into a model folder that plain SentenceTransformer loads.

    Args:
        ckpt_path: a checkpoint that fit wrote, such as models/quickstart/checkpoints/best.ckpt.
        output_dir: the model folder, such as models/quickstart/final. An older model there is replaced, and its ranker
            kept where it was trained on the same data; a folder that holds anything else is left alone.

    Returns:
        The model folder.
    """
    from lit_rec.training.export import export_model

    folder = export_model(ckpt_path, output_dir)
    trained_on = read_json(folder / schema.MODEL_RECORD)["data"].get("processed_dir")
    if trained_on and (Path(trained_on) / schema.PARAMS).is_file():
        print_next_steps(command("recommend", "--model_dir", folder, "--processed_dir", trained_on, "--n_samples", 3))
    else:
        missing = f"The data that it was trained on are not at {trained_on}: name where they are"
        print_next_steps(missing, command("recommend", "--help"))
    return folder


def package(settings: PackageSettings) -> str:
    """Turn a model folder and a catalogue into a BentoML model, and build the bento that serves it.

    Args:
        settings: what is packaged, and what becomes of it.

    Returns:
        The tag of the bento, else of the BentoML model, else the folder.
    """
    from lit_rec.packaging.package import package as package_model

    made = package_model(settings)
    logger.info("Packaged %s", made.model_version)
    if settings.output_dir is not None:
        print_next_steps(f"LIT_REC_BUNDLE={shlex.quote(str(settings.output_dir))} bentoml serve")
        return str(settings.output_dir)
    if made.bento_tag is None:
        print_next_steps(f"bentoml models get {made.model_tag}", "bentoml serve", "bentoml build")
        return str(made.model_tag)
    print_next_steps(f"bentoml serve {made.bento_tag}", f"bentoml containerize {made.bento_tag}")
    return made.bento_tag


def push(settings: PushSettings) -> str:
    """Put a model folder on the Hugging Face Hub, with a card written from its recorded metrics.

    The token is HF_TOKEN, of the environment or of .env.

    Args:
        settings: what is pushed, and where it goes.

    Returns:
        What loads exactly this: owner/name@commit.
    """
    pushed = push_model(settings)
    logger.info("Pushed: %s", pushed.url)
    print_next_steps(command("recommend", "--model_dir", pushed.pinned))
    return pushed.pinned


def evaluate(settings: EvaluationSettings) -> dict[str, object]:
    """Measure models and baselines on the same queries, with intervals of every difference.

    Args:
        settings: what is measured, on which queries, and where the results go.

    Returns:
        The report.

    Raises:
        LitRecError: a method failed; the report of the others is written before.
    """
    from lit_rec.evaluation.evaluate import evaluate as evaluate_methods

    report = evaluate_methods(settings, command("evaluate", *flags(settings)))
    written = [file for file in (settings.markdown, settings.json, settings.per_query) if file is not None]
    if failed := report["failed"]:
        why = "; ".join(f"{name}: {error}" for name, error in failed.items())
        kept = f"The others are in {written[0]}" if written else "The others are printed above"
        raise LitRecError(f"{len(failed)} of {len(failed) + len(report['methods'])} methods failed", why, kept)
    if settings.json is None:
        markdown = settings.markdown or Path("results/evaluation.md")
        again = replace(settings, json=Path("results/evaluation.json"), markdown=markdown)
        print_next_steps(command("evaluate", *flags(again)))
    else:
        print_next_steps(
            *(f"less {shlex.quote(str(file))}" for file in written if file.suffix in {".md", ".json"}),
            f"ls {shlex.quote(str(settings.plots_dir))}/*.png",
            *(
                command("recommend", "--model_dir", model, "--processed_dir", report["processed_dir"], "--n_samples", 3)
                for model in settings.model_dir[:1]
            ),
        )
    return report


def compare(settings: ComparisonSettings) -> dict[str, object]:
    """Untrained against trained on the same queries: metrics, an embedding report, and a diagnosis in plain words.

    Args:
        settings: which models, on which queries, and where the results go.

    Returns:
        The report.
    """
    from lit_rec.evaluation.compare import compare as compare_models

    model = settings.model_dir or _newest_model()
    report = compare_models(model, settings)
    data = ["--processed_dir", str(report["processed_dir"]), "--split", settings.split]
    print_next_steps(
        *([f"ls {shlex.quote(str(settings.plots))}/*.png"] if settings.plots else []),
        command("evaluate", *data, "--model_dir", model, "--baselines", "all"),
    )
    return report


def _newest_model() -> str:
    if (found := newest_model()) is not None:
        logger.info("Using model %s", found)
        return found
    from lit_rec.artifacts.pretrained import DEFAULT_BASE_MODEL

    logger.warning("No model folder in models/*/final; using the untrained %s", DEFAULT_BASE_MODEL)
    return DEFAULT_BASE_MODEL
