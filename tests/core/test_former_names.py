"""Names of version 0.1, in flags, configs and records."""

import pytest

from lit_rec.core.former_names import present_names, present_record, present_words


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
