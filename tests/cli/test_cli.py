import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import lit_rec
from lit_rec.cli.main import main
from lit_rec.core.errors import FileError, SettingError

COMMANDS = ["prepare", "fit", "validate", "test", "predict", "recommend", "export"]


def in_a_process(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **environment},
    )


def test_help_is_quick_names_every_command_and_imports_nothing_heavy() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    answer = in_a_process("-X", "importtime", "-m", "lit_rec", "--help", COLUMNS="200")
    assert answer.returncode == 0, answer.stderr
    after = resource.getrusage(resource.RUSAGE_CHILDREN)  # time on the CPU: a busy machine does not count
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1
    assert all(f"    {command} " in answer.stdout for command in COMMANDS)
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in answer.stderr.splitlines()}
    heavy = {
        "torch",
        "lightning",
        "polars",
        "datasets",
        "transformers",
        "sentence_transformers",
        "numpy",
        "jsonargparse",
    }
    assert imported & (heavy | {"wandb", "matplotlib", "pyarrow", "torchmetrics"}) == set()


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code in (0, None)
    assert lit_rec.__version__ in capsys.readouterr().out


NO_FILE = "--config: File does not exist: "
WRONG = {
    "": "the following arguments are required: COMMAND",
    "fly": "argument COMMAND: invalid choice: 'fly' (choose from 'prepare', ",
    "feedback": "the following arguments are required: COMMAND",
    "prepare --sauce instacart": "unrecognized arguments: --sauce instacart\nDid you mean --source?",
    "prepare --config nowhere.yaml": NO_FILE,
    "prepare --eval_frac much": "--eval_frac: ",
    "recommend --n_samples -1": "--n_samples: Input should be greater than or equal to 0. Got value: -1",
    "export": "missing: --ckpt_path, --output_dir",
    "feedback report --jsn x": "unrecognized arguments: --jsn x\nDid you mean --json?",
    "fit --data.batchsize 3": "unrecognized arguments: --data.batchsize 3\nDid you mean --data.batch_size?",
    "fit --overwrite true": "unrecognized arguments: --overwrite true",
    "fit --config nowhere.yaml": NO_FILE,
    "fit --trainer.max_epochs x": "--trainer.max_epochs: Expected a <class 'int'>. Got value: x",
    "fit --ranker.max_epochs x": "--ranker.max_epochs: Input should be a valid integer",
}


@pytest.mark.parametrize("line", WRONG)
def test_what_is_wrong_with_a_command_line_is_said_in_a_line(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(line.split())
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {WRONG[line]}")
    help_is_at = said.rstrip("\n").partition("\n")[2]
    assert "\n" not in help_is_at
    command = "".join(f" {word}" for word in line.split()[:1] if len(line.split()) > 1)
    assert help_is_at.endswith(" --help explains")
    assert f"python -m lit_rec{command}" in help_is_at


def test_settings_of_the_trainer_that_this_machine_cannot_have_are_an_error_of_ours(tmp_path: Path) -> None:
    words = ["fit", "--trainer.accelerator", "gpux", "--output_dir", str(tmp_path), "--wandb", "off"]
    with pytest.raises(SettingError, match="do not work here: You selected an invalid accelerator name"):
        main(words)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_commands_help_runs(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code in (0, None)
    shown = capsys.readouterr().out
    of_command = {"prepare": "--eval_frac", "recommend": "--eval_query_id", "export": "--ckpt_path"}
    assert of_command.get(command, "--model.temperature") in shown
    assert "--config" in shown or command == "export"


def test_prepare_takes_flags(raw_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--data_dir", str(raw_dir), "--output_dir", str(tmp_path), "--eval_frac", "0.5", "--max_prior_orders", "2"]
    folder = main(["prepare", "--source", "instacart", *flags])
    assert folder == tmp_path / "p2_mp20_ef0.5"
    assert (folder / "eval_queries.json").is_file()
    params = json.loads((folder / "data_prep_params.json").read_text())
    assert params["eval_frac"] == 0.5
    assert f"--data.processed_dir {folder}" in capsys.readouterr().out.replace("\n", "")


@pytest.mark.filterwarnings("ignore:.*could not find the monitored key")  # of Lightning: nothing was validated
def test_what_prepare_suggests_where_nobody_is_held_out_trains_to_the_end(
    raw_dir: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["prepare", "--data_dir", str(raw_dir), "--output_dir", str(tmp_path), "--eval_frac", "0"])
    command = capsys.readouterr().out.replace("\n", "").partition("python -m lit_rec ")[2].split()
    config = Path(__file__).parents[2] / command[command.index("--config") + 1]
    command[command.index("--config") + 1] = str(config)
    small = ["--model.base_model", str(tiny_model), "--model.max_seq_length", "64", "--trainer.max_epochs", "1"]
    small += ["--trainer.log_every_n_steps", "1", "--trainer.accelerator", "cpu", "--wandb", "off"]
    main([*command, *small, "--output_dir", str(tmp_path / "run")])
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").is_file()


def test_prepare_takes_a_fold_and_says_what_the_folds_are(
    raw_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--data_dir", str(raw_dir), "--output_dir", str(tmp_path)]
    folder = main(["prepare", *flags, "--n_folds", "3", "--fold", "2"])
    assert folder == tmp_path / "p5_mp20_fold2of3"
    assert "python -m lit_rec fit" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["prepare", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "cross-validation by user" in shown
    assert "which of the n_folds parts is the test part, 0 to n_folds - 1" in shown


def test_a_fold_that_there_is_not_ends_the_process_with_one_sentence(raw_dir: Path, tmp_path: Path) -> None:
    flags = ["--data_dir", str(raw_dir), "--output_dir", str(tmp_path), "--n_folds", "5", "--fold", "5"]
    answer = in_a_process("-m", "lit_rec", "prepare", *flags)
    assert answer.returncode == 1
    assert "SettingError: fold must be one of n_folds, counted from 0: got 5 of 5. Pass a --fold" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert list(tmp_path.iterdir()) == []


def test_prepare_takes_a_config_that_flags_overrule(raw_dir: Path, tmp_path: Path) -> None:
    config = tmp_path / "prepare.yaml"
    settings = {
        "source": "instacart",
        "data_dir": str(raw_dir),
        "output_dir": str(tmp_path / "made"),
        "eval_frac": 0.3,
        "targets": "rolling",
    }
    config.write_text(yaml.safe_dump(settings))
    folder = main(["prepare", "--config", str(config), "--eval_frac", "0.5"])
    assert folder == tmp_path / "made" / "p5_mp20_ef0.5_roll4"


def test_an_error_of_ours_ends_the_process_with_one_sentence(tmp_path: Path) -> None:
    answer = in_a_process("-m", "lit_rec", "export", "--ckpt_path", str(tmp_path / "no.ckpt"), "--output_dir", "x")
    assert answer.returncode == 1
    assert "CheckpointError: No checkpoint at" in answer.stderr
    assert "Traceback" not in answer.stderr


@pytest.mark.parametrize(
    ("error", "found", "do"),
    [
        (OSError(28, "No space left on device", "there"), "No space left on device: there", "Make room there"),
        (PermissionError(13, "Permission denied", "there"), "Permission denied: there", "Change its permissions"),
        (OSError("something else"), "something else", "Look at what is there"),
    ],
)
def test_an_error_of_the_system_is_one_of_ours(
    error: OSError, found: str, do: str, monkeypatch, tmp_path: Path
) -> None:
    def failing(*_args: object, **_options: object) -> None:
        raise error

    monkeypatch.setattr("lit_rec.data.prepare.prepare", failing)
    with pytest.raises(FileError, match=f"prepare could not go on: {found}. {do}"):
        main(["prepare", "--data_dir", str(tmp_path)])


def test_a_file_in_the_place_of_an_output_folder_is_named_in_one_line(
    raw_dir: Path, processed_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    data = ["--processed_dir", str(processed_dir)]
    for words in (
        ["prepare", "--data_dir", str(raw_dir), "--output_dir", str(tmp_path / "file")],
        ["fit", "--data.processed_dir", "nothing", "--output_dir", str(tmp_path / "file")],
        ["evaluate", "--baselines", "popularity", "--json", str(tmp_path / "file" / "report.json")],
        ["compare", "--model_dir", "nothing", *data, "--plots", str(tmp_path / "file" / "plots")],
        ["feedback", "report", "--html", str(tmp_path / "file" / "page.html")],
    ):
        with pytest.raises(FileError, match=r"file.* cannot be written: .*file is a file"):
            main(words)
