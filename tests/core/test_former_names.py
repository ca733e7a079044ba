"""Names of version 0.1, in flags, configs and records."""

import pytest
import yaml

from lit_rec.cli.main import main, parse
from lit_rec.core.former_names import SETTINGS, VALUES, present_names, present_record, present_words
from lit_rec.data.settings import PrepareSettings


@pytest.mark.parametrize(
    ("former", "present"),
    [
        ({"next_segment": False, "eval_serve_time": True}, "never"),
        ({"next_segment": False, "eval_serve_time": False}, "never"),
        ({"next_segment": True, "eval_serve_time": True}, "training"),
        ({"next_segment": True}, "training"),
        ({"next_segment": True, "eval_serve_time": False}, "always"),
        ({"eval_serve_time": True}, "never"),
        ({"next_order_in_context": "always", "eval_serve_time": False}, "always"),
    ],
)
def test_two_switches_became_one_setting(former, present):
    assert present_names({"prepare": former})["prepare"]["next_order_in_context"] == present


def test_a_models_context_was_that_of_serving():
    assert present_record({"context": {"next_segment": True}}) == {"context": {"next_order_in_context": "always"}}
    assert present_record({"context": {"next_segment": False}}) == {"context": {"next_order_in_context": "never"}}
    assert present_record({"context": {"next_order_in_context": "training"}, "epoch": 1}) == {
        "context": {"next_order_in_context": "training"},
        "epoch": 1,
    }


@pytest.mark.parametrize(
    ("words", "last"),
    [
        (["--next_segment", "true"], "training"),
        (["--next_segment=true", "--eval_serve_time=false"], "always"),
        (["--data.prepare.eval_serve_time", "false", "--data.prepare.next_segment", "true"], "always"),
        (["--eval_serve_time", "false"], "never"),
    ],
)
def test_flags_of_the_two_switches_are_read_together(words, last, caplog):
    present = present_words(["prepare", *words])
    assert present[-1].rpartition("=")[2] == last
    assert all("next_order_in_context" in word for word in present if word.startswith("--"))
    assert "version 0.3 will not take the former ones" in caplog.text


@pytest.mark.parametrize("config", ["next_segment: true", "next_order_in_context: training"])
def test_a_former_flag_goes_with_the_config_before_it(config, tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(f"data:\n  prepare:\n    {config}\n")
    present = present_words(["fit", "--config", str(file), "--data.prepare.eval_serve_time", "false"])
    assert present[-2:] == ["--data.prepare.next_order_in_context", "always"]


def test_flags_and_their_values_are_read_under_their_present_names_with_a_warning(caplog):
    words = ["fit", "--model.loss", "pair", "--model.gradient_cache_rows=8", "--data.prepare.name_budget", "oldest"]
    now = ["fit", "--model.loss", "mnrl", "--model.grad_cache_size=8", "--data.prepare.truncate", "keep_oldest"]
    assert present_words(words) == now
    assert "--model.gradient_cache_rows=8 is now --model.grad_cache_size=8" in caplog.text
    assert len(caplog.messages) == 4  # two flags and two values
    assert present_words(now) == now
    assert len(caplog.messages) == 4


def test_values_are_those_of_their_setting_alone():
    words = ["recommend", "--query", "pair", "oldest", "--model_dir", "loss"]
    assert present_words(words) == words


def test_nested_settings_are_read_under_their_present_names():
    former = {"model": {"loss": "pair", "phrases_from": None}, "data": {"prepare": {"name_budget": "newest"}}}
    present = {"model": {"loss": "mnrl", "added_tokens_from": None}, "data": {"prepare": {"truncate": "keep_recent"}}}
    assert present_names(former) == present
    assert present_names(present) == present


def test_a_config_file_is_read_under_its_present_names_and_left_as_it_is(tmp_path, caplog):
    file = tmp_path / "former.yaml"
    file.write_text("name_budget: oldest\neval_frac: 0.5\n")
    for words in (["--config", str(file)], [f"--config={file}"]):
        content = present_words(["prepare", *words])[-1].removeprefix("--config=")
        assert yaml.safe_load(content) == {"truncate": "keep_oldest", "eval_frac": 0.5}
    assert "former.yaml is read under present names" in caplog.text
    assert file.read_text().startswith("name_budget")
    _, arguments = parse(present_words(["prepare", "--config", str(file)]))
    assert arguments["settings"] == PrepareSettings(truncate="keep_oldest", eval_frac=0.5)
    for untouched in ("no/such.yaml", str(tmp_path)):
        assert present_words(["prepare", "--config", untouched]) == ["prepare", "--config", untouched]


def test_a_command_runs_with_a_former_flag(raw_dir, tmp_path, caplog):
    words = ["--data_dir", str(raw_dir), "--output_dir", str(tmp_path), "--eval_frac", "0.5"]
    folder = main(["prepare", *words, "--name_budget", "oldest"])
    assert folder.name == "p5_mp20_ef0.5_oldest"
    assert "--name_budget is now --truncate" in caplog.text


def test_no_former_name_is_a_present_one():
    assert not SETTINGS.keys() & set(SETTINGS.values())
    assert not {(name, value) for (name, _), value in VALUES.items()} & VALUES.keys()
