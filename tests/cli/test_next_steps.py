"""Every command that is said to be run next is one that the real parser takes, with paths that a shell takes apart."""

import ast
import shlex
import shutil
from collections import ChainMap
from dataclasses import is_dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

import lit_rec
from lit_rec.cli.main import TRAINING_COMMANDS, main
from lit_rec.cli.main import parse as parse_command
from lit_rec.core.errors import NotPreparedError, ProcessedFolderError
from lit_rec.core.next_steps import command, config_for, flags, print_next_steps
from lit_rec.data.prepare import prepare
from lit_rec.data.processed import find_processed_folder
from lit_rec.data.settings import PrepareSettings, RawData
from lit_rec.training.lightning_cli import TrainingCLI, run

PACKAGE = Path(lit_rec.__file__).parent
QUICK = [
    "--wandb",
    "off",
    "--trainer.accelerator",
    "cpu",
    "--trainer.max_epochs",
    "1",
    "--trainer.log_every_n_steps",
    "1",
]


@pytest.fixture
def parsed(monkeypatch):
    """Parses a command line as the process would, and runs nothing."""

    def parse(line):
        words = shlex.split(line)
        assert words[:3] == ["python", "-m", "lit_rec"]
        if words[3] not in TRAINING_COMMANDS:
            arguments = parse_command(words[3:])[1]
            classes = (vars(value) for value in arguments.values() if is_dataclass(value))
            return SimpleNamespace(**ChainMap(arguments, *classes))
        with monkeypatch.context() as patched:
            for step in ("before_instantiate_classes", "instantiate_classes", "after_instantiate_classes"):
                patched.setattr(TrainingCLI, step, lambda self: None)
            patched.setattr(TrainingCLI, "_run_subcommand", lambda self, name: None)
            return run(words[3:]).config[words[3]]

    return parse


def suggested(text):
    """The command lines of ours in what was printed or raised."""
    lines = [line[line.index("python -m lit_rec ") :] for line in text.splitlines() if "python -m lit_rec " in line]
    return [line for line in lines if not line.endswith("--help")]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder that a shell would take for several words."""
    folder = tmp_path_factory.mktemp("run") / "Anna's shop; $HOME"
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def fitted(place, raw_dir, tiny_model):
    """Prepared data without a test part, and a run on them."""
    data = prepare(RawData("instacart", raw_dir, place / "data"), PrepareSettings(eval_frac=0.5, val_frac=1.0))
    model = ["--model.base_model", str(tiny_model), "--model.max_seq_length", "32"]
    words = [*model, "--data.processed_dir", str(data), *QUICK, "--trainer.limit_train_batches", "1"]
    return data, words


@pytest.mark.slow  # runs all that it suggests
def test_what_is_suggested_without_a_test_part_runs_and_names_no_test(fitted, place, parsed, capsys):
    data, words = fitted
    model = place / "model" / "final"
    main(["fit", *words, "--output_dir", str(place / "model")])
    (export,) = suggested(capsys.readouterr().out)
    main(shlex.split(export)[3:])
    (recommend,) = suggested(capsys.readouterr().out)
    assert parsed(recommend).model_dir == str(model)
    main(["fit_ranker", "--model_dir", str(model), "--hidden_size", "8", "--ensemble_size", "1", "--max_epochs", "1"])
    evaluate, recommend = suggested(capsys.readouterr().out)
    assert parsed(recommend).processed_dir == data
    asked = parsed(evaluate)
    assert (asked.processed_dir, asked.model_dir, asked.split) == (data, [str(model)], "val")
    report = main([*shlex.split(evaluate)[3:], "--n_resamples", "20"])
    assert report["n_queries"] > 0
    (again,) = suggested(capsys.readouterr().out)
    assert parsed(again).split == "val"
    validated = ["validate", "--data.processed_dir", str(data), "--output_dir", str(place / "model"), "--wandb", "off"]
    main([*validated, "--ckpt_path", str(place / "model" / "checkpoints" / "best.ckpt")])
    (export,) = suggested(capsys.readouterr().out)
    assert parsed(export).output_dir == model


def test_a_run_without_a_logger_is_tested_on_its_data_and_a_try_suggests_nothing(
    place, processed_dir, tiny_model, parsed, capsys
):
    model = ["--model.base_model", str(tiny_model), "--model.max_seq_length", "32"]
    words = ["fit", *model, "--data.processed_dir", str(processed_dir), "--output_dir", str(place / "bare"), *QUICK]
    words += ["--trainer.limit_train_batches", "1"]
    main([*words, "--config", str(PACKAGE.parent / "configs/presets/debug.yaml")])
    assert suggested(capsys.readouterr().out) == []
    main([*words, "--trainer.logger", "false"])
    shutil.rmtree(place / "bare" / "logs", ignore_errors=True)
    test, export = suggested(capsys.readouterr().out)
    assert "None" not in test
    assert Path(parsed(test).ckpt_path).is_file()
    assert parsed(export).output_dir == place / "bare" / "final"


def test_prepared_folders_are_gone_on_with_from_anywhere(raw_dir, place, parsed, capsys, monkeypatch):
    monkeypatch.chdir(place)  # where there are no configs/
    words = ["prepare", "--data_dir", str(raw_dir), "--output_dir", str(place / "prepared")]
    folder = main([*words, "--eval_frac", "0.5"])
    (fit,) = suggested(capsys.readouterr().out)
    assert parsed(fit).data.processed_dir == folder
    assert str(parsed(fit).output_dir) == "models/instacart"
    folder = main([*words, "--eval_frac", "1"])
    (evaluate,) = suggested(capsys.readouterr().out)
    assert main([*shlex.split(evaluate)[3:], "--n_resamples", "20"])["n_queries"] > 0
    assert parsed(evaluate).processed_dir == folder


def test_a_folder_of_other_input_is_replaced_by_the_command_that_is_named(raw_dir, place, parsed):
    settings = PrepareSettings(eval_frac=0.5, max_prior_orders=2)
    other = place / "raw"
    shutil.copytree(raw_dir, other)
    (other / "aisles.csv").write_text((other / "aisles.csv").read_text() + "9999,other things\n")
    folder = prepare(RawData("instacart", raw_dir, place / "kept"), settings)
    with pytest.raises(ProcessedFolderError, match="Name another output_dir") as raised:
        prepare(RawData("instacart", other, place / "kept"), settings)
    (again,) = suggested(str(raised.value))
    assert parsed(again).data_dir == other
    assert main(shlex.split(again)[3:]) == folder


def test_where_nothing_is_prepared_what_is_named_prepares_it_there(place, parsed):
    with pytest.raises(NotPreparedError) as raised:
        find_processed_folder(place / "empty")
    (line,) = suggested(str(raised.value))
    assert parsed(line).output_dir == place / "empty"


def test_flags_name_what_is_not_as_by_default():
    settings = PrepareSettings(next_order_in_context="always", n_folds=3, fold=1)
    assert flags(settings) == ["--next_order_in_context", "always", "--n_folds", "3", "--fold", "1"]
    assert flags(PrepareSettings()) == []


def calls_of_command():
    """Each call of ``command`` in the source: where it is, and its words as far as they are written there."""
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "command":
                words = [word.value for word in ast.walk(node) if isinstance(word, ast.Constant)]
                yield f"{file.name}:{node.lineno}", [word for word in words if isinstance(word, str)]


def test_every_command_in_the_source_names_flags_that_its_command_has(parsed, capsys):
    calls = dict(calls_of_command())
    assert len(calls) > 12
    helps = {}
    for place, words in calls.items():
        command = [word for word in words if not word.startswith("-")][: 2 if words[0] == "feedback" else 1]
        if tuple(command) not in helps:
            with pytest.raises(SystemExit):
                main([*command, "--help"])
            helps[tuple(command)] = capsys.readouterr().out
        for flag in (word for word in words if word.startswith("--")):
            assert f"{flag} " in helps[tuple(command)].replace("\n", " ").replace("]", " ").replace(",", " "), place


def test_no_message_writes_a_command_line_without_its_quoting():
    """A command with a value in it is made by ``command``."""
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                text = "".join(part.value for part in node.values if isinstance(part, ast.Constant))
                assert "python -m lit_rec" not in text, f"{file.name}:{node.lineno}"


def test_a_config_is_named_only_where_it_is(monkeypatch, tmp_path):
    assert Path(str(config_for("complete_journey")[1])).name == "complete_journey.yaml"
    monkeypatch.setattr(
        "lit_rec.core.next_steps.__file__", str(tmp_path / "site-packages" / "lit_rec" / "core" / "next_steps.py")
    )
    monkeypatch.chdir(tmp_path)
    assert config_for("instacart") == []
    assert command("fit", *config_for("instacart")) == "python -m lit_rec fit"


def test_next_steps_can_be_copied_whole(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    line = "python -m lit_rec export --ckpt_path models/[a]/checkpoints/best.ckpt --output_dir models/[a]/final"
    print_next_steps(line, "second")
    assert capsys.readouterr().out.splitlines() == ["", "Next", f"  {line}", "  second"]
