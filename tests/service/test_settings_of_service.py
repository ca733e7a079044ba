"""Settings: from the environment and a file, checked at the start, all faults in one report, all documented."""

import importlib.util
import json
import shutil
from pathlib import Path

import pytest

from lit_rec.core import schema
from lit_rec.core.errors import SettingError
from lit_rec.core.files import write_json
from lit_rec.data.processed import ProcessedFolder
from lit_rec.service.settings import ArmSettings, ServiceSettings, load_settings

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def environment(monkeypatch):
    def of(**values):
        for name, value in values.items():
            monkeypatch.setenv(name, str(value))

    return of


@pytest.fixture
def named(environment, corpus_path):
    """A model is named, as everything needs."""
    environment(MODEL_DIR="models/a/final", CORPUS_PATH=corpus_path)


def test_the_names_of_the_reference_work(environment, corpus_path):
    environment(
        MODEL_DIR="models/bi_encoder_sbert/final",
        CORPUS_PATH=corpus_path,
        FEEDBACK_DB_PATH="/data/feedback.db",
        INFERENCE_DEVICE="cpu",
        API_KEY="secret",
        RATE_LIMIT="60/minute",
    )
    settings = load_settings()
    assert (settings.model_dir, settings.corpus_path) == ("models/bi_encoder_sbert/final", corpus_path)
    assert (settings.feedback_db_path, settings.inference_device) == ("/data/feedback.db", "cpu")
    assert [key.get_secret_value() for key in settings.api_key] == ["secret"]
    assert settings.rate_limit == "60/minute"


def test_a_name_with_the_prefix_wins_over_one_without(environment, corpus_path, tmp_path):
    (tmp_path / ".env").write_text("LIT_REC_MAX_WAITING=7\nMAX_BATCH_SIZE=5\nLOG_LEVEL=error\n", encoding="utf-8")
    environment(
        LIT_REC_MODEL_DIR="ours",
        MODEL_DIR="of_another_program",
        CORPUS_PATH=corpus_path,
        MAX_WAITING=9,
        LOG_LEVEL="debug",
    )
    settings = load_settings()
    assert (settings.model_dir, settings.corpus_path, settings.max_waiting) == ("ours", corpus_path, 7)
    assert (settings.max_batch_size, settings.log_level) == (5, "DEBUG")
    environment(LIT_REC_MAX_BATCH_SIZE="none")
    with pytest.raises(SettingError, match=r"1 of .*\n +LIT_REC_MAX_BATCH_SIZE: "):
        load_settings()


@pytest.mark.usefixtures("named")
def test_several_keys_are_separated_by_commas_and_not_shown(environment):
    environment(API_KEY=" first, second ,")
    settings = load_settings()
    assert [key.get_secret_value() for key in settings.api_key] == ["first", "second"]
    assert "first" not in repr(settings)


@pytest.mark.usefixtures("named")
def test_an_empty_variable_is_none(environment):
    environment(API_KEY="", METRICS_KEY="", BUNDLE="", INFERENCE_DEVICE="", RATE_LIMIT="")
    settings = load_settings()
    assert (settings.api_key, settings.metrics_key, settings.bundle, settings.inference_device) == (
        (),
        None,
        None,
        None,
    )
    assert settings.rate_limit == ""


def test_a_file_is_read_and_the_environment_wins(environment, corpus_path, tmp_path):
    text = f"MODEL_DIR=of_the_file\nCORPUS_PATH={corpus_path}\nMAX_WAITING=7\nAPI_KEY=a,b\n"
    (tmp_path / ".env").write_text(text + "HF_TOKEN=of_another_program\n", encoding="utf-8")
    environment(MODEL_DIR="of_the_environment")
    settings = load_settings()
    assert (settings.model_dir, settings.max_waiting, len(settings.api_key)) == ("of_the_environment", 7, 2)
    (tmp_path / "mine.env").write_text(text.replace("MAX_WAITING=7", "MAX_WAITING=8"), encoding="utf-8")
    environment(LIT_REC_SETTINGS=tmp_path / "mine.env")
    assert load_settings().max_waiting == 8


@pytest.mark.usefixtures("named")
def test_a_file_that_is_not_there_or_holds_other_names_is_refused(environment, tmp_path):
    environment(LIT_REC_SETTINGS=tmp_path / "none.env")
    with pytest.raises(SettingError, match=r"there is no .*none\.env"):
        load_settings()
    (tmp_path / "none.env").write_text("RATE_LIMTI=1/minute", encoding="utf-8")
    with pytest.raises(SettingError, match="RATE_LIMTI: there is no such setting"):
        load_settings()


def test_everything_wrong_is_in_one_report(environment, tmp_path):
    environment(
        MODEL_DIR="m", CORPUS_PATH=tmp_path / "none.json", RATE_LIMIT="lots", MAX_BODY_BYTES="1", DRAIN_SECONDS="soon"
    )
    with pytest.raises(SettingError) as raised:
        load_settings()
    message = str(raised.value)
    for name in ("4 of", "CORPUS_PATH: there is no", "RATE_LIMIT", "MAX_BODY_BYTES", "DRAIN_SECONDS", "settings.md"):
        assert name in message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RATE_LIMIT", "0/minute"),
        ("RATE_LIMIT_STORAGE", "mongodb://x"),
        ("ENCODER_THREADS", "0"),
        ("REQUEST_DEADLINE_SECONDS", "inf"),
        ("LOG_LEVEL", "LOUD"),
        ("CORS_ORIGINS", "shop.example"),
        ("CORS_ORIGINS", "https://shop.example/,*"),
        ("ARMS", "{"),
        ("ARMS", '{"a": {"model_dir": "x"}}'),
        ("ARMS", '{"a": {"bundle": "."}, "b": {"bundle": ".", "weight": 0}}'),
        ("BUNDLE", "."),
        ("FEEDBACK_DB_PATH", ""),
    ],
)
@pytest.mark.usefixtures("named")
def test_a_wrong_value_is_refused(environment, name, value):
    environment(**{name: value})
    with pytest.raises(SettingError, match=name if name != "BUNDLE" else "three ways"):
        load_settings()


def test_a_model_has_to_be_named(environment):
    with pytest.raises(SettingError, match="set LIT_REC_BUNDLE, LIT_REC_MODEL_DIR or LIT_REC_ARMS"):
        load_settings()
    environment(MODEL_DIR="m")
    with pytest.raises(SettingError, match="the model records no catalogue of its own: name a corpus path"):
        load_settings()


def test_a_model_is_served_with_the_catalogue_of_its_own_folder(environment, tmp_path, tiny_model, processed_dir):
    model = shutil.copytree(tiny_model, tmp_path / "model")
    record = {"data": {"processed_dir": str(processed_dir), "sha256": ProcessedFolder(processed_dir).sha256}}
    write_json(model / schema.MODEL_RECORD, record)
    environment(MODEL_DIR=str(model))
    (arm,) = load_settings().named_arms().values()
    assert arm.corpus_path == processed_dir / schema.EVAL_CORPUS
    write_json(model / schema.MODEL_RECORD, {"data": record["data"] | {"processed_dir": str(tmp_path / "gone")}})
    with pytest.raises(
        SettingError, match=r"cannot be taken, so name a corpus path: .*there is no such processed folder"
    ):
        load_settings()


def test_arms_are_named_by_json(environment, tmp_path, corpus_path):
    environment(
        ARMS=json.dumps(
            {"a": {"bundle": str(tmp_path)}, "b": {"model_dir": "m", "corpus_path": str(corpus_path), "weight": 3}}
        )
    )
    arms = load_settings().named_arms()
    assert arms == {
        "a": ArmSettings(bundle=tmp_path),
        "b": ArmSettings(model_dir="m", corpus_path=corpus_path, weight=3),
    }


def test_one_model_is_the_default_arm(environment, tmp_path):
    environment(BUNDLE=tmp_path)
    assert load_settings().named_arms() == {"default": ArmSettings(bundle=tmp_path)}


def test_the_documentation_is_what_the_settings_say():
    script = ROOT / "scripts" / "write_settings.py"
    spec = importlib.util.spec_from_file_location("write_settings", script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    written = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert written == module.settings_page(), "python scripts/write_settings.py writes it anew"
    for name, field in ServiceSettings.model_fields.items():
        assert field.description, name
        assert f"`LIT_REC_{name.upper()}`" in written


@pytest.mark.usefixtures("named")
def test_former_names_work_with_a_warning_where_there_is_no_present_one(environment, tmp_path, caplog):
    (tmp_path / "service.env").write_text("LIT_REC_SERVE_SHOPPERS=false\n", encoding="utf-8")
    environment(LIT_REC_SETTINGS="service.env", LIT_REC_STORE_SERVED="false")
    settings = load_settings()
    assert not settings.store_exposures
    assert not settings.serve_users
    assert "LIT_REC_STORE_SERVED is now LIT_REC_STORE_EXPOSURES" in caplog.text
    environment(LIT_REC_STORE_EXPOSURES="true", LIT_REC_SERVE_USERS="true")
    assert load_settings().store_exposures
    assert load_settings().serve_users


@pytest.mark.parametrize("line", ["LIT_REC_MODEL_DIR=models/own", "MODEL_DIR=models/own"])
@pytest.mark.parametrize("file", [".env", "ours.env"])
def test_a_model_that_a_file_names_comes_before_the_packaged_one(environment, corpus_path, tmp_path, line, file):
    (tmp_path / file).write_text(f"{line}\nLIT_REC_CORPUS_PATH={corpus_path}\n", encoding="utf-8")
    if file != ".env":
        environment(LIT_REC_SETTINGS=tmp_path / file)
    settings = load_settings(str(tmp_path))
    assert (settings.model_dir, settings.bundle) == ("models/own", None)


def test_without_one_the_packaged_is_served(environment, tmp_path):
    environment(LIT_REC_MODEL_DIR="", LIT_REC_MAX_WAITING=7)
    settings = load_settings(str(tmp_path))
    assert (settings.bundle, settings.max_waiting) == (tmp_path, 7)
