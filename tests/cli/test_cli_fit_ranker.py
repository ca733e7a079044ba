"""``python -m lit_rec fit_ranker``: help that comes at once, settings that are refused, what is written and said."""

import json
import shutil
import subprocess
import sys

import pytest

from lit_rec.cli.main import main
from lit_rec.core import schema
from lit_rec.core.errors import ModelFolderError, NotPreparedError

QUICK = ["--hidden_size", "8", "--ensemble_size", "1", "--max_epochs", "1", "--targets_per_user", "2"]


@pytest.fixture
def folders(processed_dir, tiny_model, tmp_path):
    """Words that name a copy of the processed folder and of the tiny model."""
    prepared = shutil.copytree(processed_dir, tmp_path / "prepared")
    model = shutil.copytree(tiny_model, tmp_path / "model")
    (model / schema.MODEL_RECORD).write_text("{}", encoding="utf-8")
    return ["--processed_dir", str(prepared), "--model_dir", str(model)]


def test_a_ranker_is_written_its_metrics_printed_and_the_next_steps_named(folders, tmp_path, capsys):
    metrics = main(["fit_ranker", *folders, *QUICK])
    assert {file.name for file in (tmp_path / "model").glob("ranker.*")} == {schema.RANKER, schema.RANKER_WEIGHTS}
    record = json.loads((tmp_path / "model" / schema.RANKER).read_text(encoding="utf-8"))
    assert record["metrics"] == metrics
    assert record["settings"]["targets_per_user"] == 2
    assert record["data"]["processed_dir"] == str(tmp_path / "prepared")
    printed = capsys.readouterr().out
    assert "python -m lit_rec evaluate" in printed
    assert "python -m lit_rec recommend" in printed


def test_the_same_seed_gives_the_same_metrics(folders):
    first, second, other = (main(["fit_ranker", *folders, *QUICK, "--seed", seed]) for seed in ("3", "3", "4"))
    assert first == second != other


def test_settings_out_of_range_are_refused_before_any_work(folders, capsys):
    with pytest.raises(SystemExit):
        main(["fit_ranker", *folders, "--ensemble_size", "0"])
    assert "--ensemble_size: Input should be greater than or equal to 1" in capsys.readouterr().err


def test_what_is_missing_is_named(folders, tmp_path):
    with pytest.raises(NotPreparedError, match="No auxiliary orders at"):
        main(["fit_ranker", *folders, "--auxiliary_orders", str(tmp_path / "none.parquet")])
    with pytest.raises(NotPreparedError, match="No prepared data"):
        main(["fit_ranker", "--processed_dir", str(tmp_path / "none"), *folders[2:]])
    with pytest.raises(ModelFolderError):
        main(["fit_ranker", *folders[:2], "--model_dir", str(tmp_path / "none")])


def test_help_comes_without_torch():
    code = (
        "import sys\nfrom lit_rec.cli.main import main\n"
        "try:\n    main(['fit_ranker', '--help'])\nexcept SystemExit:\n    pass\nassert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    for option in ("--model_dir", "--auxiliary_orders", "--targets_per_user"):
        assert option in done.stdout
