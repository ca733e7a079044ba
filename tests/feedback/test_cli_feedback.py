"""The three commands as they are typed, from the running service to a model that was trained with the feedback."""

import subprocess
import sys

import pytest

from lit_rec.cli.main import main
from lit_rec.core import schema
from lit_rec.core.errors import FeedbackStoreError, ServiceError, SettingError
from lit_rec.core.files import read_json

FIT = [
    *("--model.max_seq_length", "64"),
    *("--data.batch_size", "32"),
    *("--trainer.max_epochs", "1"),
    *("--trainer.limit_train_batches", "3"),
    *("--data.eval_batch_size", "256"),
    *("--trainer.accelerator", "cpu"),
    *("--trainer.precision", "32-true"),
    *("--trainer.enable_model_summary", "false"),
    *("--trainer.log_every_n_steps", "1"),
    *("--wandb", "off"),
]


@pytest.fixture(scope="module")
def asked(serve, processed_dir):
    """What simulated users did, and the database that it is in."""
    with serve() as (url, store):
        where = ["--url", url, "--processed_dir", str(processed_dir)]
        how = ["--n_requests", "12", "--top_k", "5", "--click_rate", "0.9", "--atc_rate", "0.9", "--seed", "1"]
        done = main(["feedback", "simulate", *where, *how])
        return done, store.url.database


def test_report_counts_what_simulate_did(asked, tmp_path, capsys):
    done, database = asked
    files = ["--json", str(tmp_path / "new" / "report.json"), "--html", str(tmp_path / "report.html")]
    report = main(["feedback", "report", "--db_path", database, *files, "--show_funnel_sample", "2"])
    assert {kind: report["overall"][kind] for kind in done["events"]} == done["events"]
    assert [row["position"] for row in report["by_position"]] == [1, 2, 3, 4, 5]
    assert len(report["funnels"]) == 2
    assert read_json(tmp_path / "new" / "report.json") == report
    assert "Feedback report" in (tmp_path / "report.html").read_text(encoding="utf-8")
    printed = " ".join(capsys.readouterr().out.split())
    assert f"Impressions (unique request and product) {done['events']['impression']}" in printed
    assert "The page:" in printed


def test_the_database_of_the_environment_is_the_default(asked, monkeypatch):
    monkeypatch.setenv("FEEDBACK_DB_PATH", asked[1])
    assert main(["feedback", "report"])["n_requests"] == 12
    monkeypatch.setenv("LIT_REC_FEEDBACK_DB_PATH", "nothing.db")
    with pytest.raises(FeedbackStoreError, match=r"nothing\.db"):
        main(["feedback", "report"])


def test_a_span_without_anything_is_said(asked, capsys):
    main(["feedback", "report", "--db_path", asked[1], "--since", "2100-01-01"])
    assert "No feedback events found in" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--since", "soon"], "'soon'"),
        (["--since", "2026-05-01", "--until", "2026-05-01"], "--until must be later than --since"),
    ],
)
def test_report_refuses_what_makes_no_sense(asked, words, complaint):
    with pytest.raises(SettingError, match=complaint):
        main(["feedback", "report", "--db_path", asked[1], *words])


def test_a_database_that_is_not_there(tmp_path):
    with pytest.raises(FeedbackStoreError, match="No feedback database"):
        main(["feedback", "report", "--db_path", str(tmp_path / "x.db")])


def test_fit_trains_with_the_pairs(asked, processed_dir, tiny_model, tmp_path):
    pairs = tmp_path / "pairs"
    where = ["--db_path", asked[1], "--processed_dir", str(processed_dir)]
    assert main(["feedback", "to-pairs", *where, "--output_dir", str(pairs)]) == pairs
    counts = read_json(pairs / schema.FEEDBACK_PARAMS)
    assert counts["n_pairs"] > 10
    assert counts["n_orders"] + counts["n_requests_without_positive"] == 12
    data = ["--model.base_model", str(tiny_model), "--data.processed_dir", str(processed_dir)]
    run = main(["fit", "--output_dir", str(tmp_path / "run"), *data, "--data.feedback_dir", str(pairs), *FIT])
    dataset = run.datamodule.train_dataset
    params = read_json(processed_dir / schema.PARAMS)
    assert len(dataset) == params["n_train_orders"] + counts["n_orders"]
    assert len(dataset.pairs.hard_negatives.product) == counts["n_negatives"]
    assert run.trainer.global_step == 3
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").is_file()


def test_two_arms_behind_one_service_are_compared(serve, processed_dir, tiny_model):
    arm = {"model_dir": str(tiny_model), "corpus_path": str(processed_dir / schema.EVAL_CORPUS)}
    with serve(model_dir=None, corpus_path=None, arms={"control": arm, "new": arm}) as (url, store):
        where = ["--url", url, "--processed_dir", str(processed_dir), "--request_mode", "context"]
        main(["feedback", "simulate", *where, "--n_requests", "40", "--top_k", "3"])
        database = store.url.database
    report = main(["feedback", "report", "--db_path", database])
    assert [row["arm"] for row in report["by_arm"]] == ["control", "new"]
    assert sum(row["impression"] for row in report["by_arm"]) == report["overall"]["impression"] == 120
    assert [row["rate"] for row in report["arm_differences"]] == ["ctr", "add_to_cart_rate", "purchase_rate"]
    control, new = report["by_arm"]
    ctr = report["arm_differences"][0]
    assert ctr["value"] == pytest.approx(new["rates"]["ctr"]["value"] - control["rates"]["ctr"]["value"])
    assert ctr["low"] <= ctr["value"] <= ctr["high"]
    assert sum(ctr["n_users"]) == report["n_users"] < 40, "some asked twice, and stayed in their arm"


def test_simulate_takes_its_own_key_of_the_environment_and_sends_no_other(serve, processed_dir, monkeypatch):
    words = ["feedback", "simulate", "--processed_dir", str(processed_dir), "--n_requests", "1", "--top_k", "1"]
    with serve(api_key="first,second") as (url, _):
        monkeypatch.setenv("LIT_REC_API_KEY", "first,second")
        assert main([*words, "--url", url])["n_answered"] == 1
        assert main([*words, "--url", url, "--api_key", "second"])["n_answered"] == 1
        monkeypatch.delenv("LIT_REC_API_KEY")
        monkeypatch.setenv("API_KEY", "first")
        with pytest.raises(ServiceError, match="wants an API key: none was sent"):
            main([*words, "--url", url])


def test_help_comes_without_what_the_commands_need():
    code = """
import sys
from lit_rec.cli.main import main
try:
    main(["feedback", "--help"])
except SystemExit:
    pass
heavy = {"sqlalchemy", "httpx", "polars", "torch", "matplotlib", "pydantic", "scipy", "datasets"} & set(sys.modules)
sys.exit(f"imported: {heavy}" if heavy else 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    for command in ("report", "simulate", "to-pairs"):
        assert command in done.stdout


def test_what_is_not_installed_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    for name in [name for name in sys.modules if name.startswith("lit_rec.feedback.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(SettingError, match=r"no module sqlalchemy. pip install 'lit_rec\[serve\]'"):
        main(["feedback", "report", "--db_path", str(tmp_path / "x.db")])


def test_what_is_suggested_does_not_show_the_password_of_the_environment(asked, monkeypatch, capsys):
    monkeypatch.setenv("LIT_REC_FEEDBACK_DB_PATH", asked[1])
    main(["feedback", "report"])
    assert asked[1] not in capsys.readouterr().out.partition("Next")[2]
