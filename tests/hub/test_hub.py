"""Pushing to a fake Hub over real HTTP, and loading by id, by revision, and offline."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest
import yaml
from huggingface_hub import ModelCard

from lit_rec.artifacts.hub import Pushed, PushSettings, model_card
from lit_rec.artifacts.hub import push as push_model
from lit_rec.cli.main import main
from lit_rec.core import schema
from lit_rec.core.errors import HubError, ModelFolderError, NotMeasuredError, NotPreparedError, SettingError
from lit_rec.data.orders import Order, UserHistory
from lit_rec.inference.recommender import Recommender

# huggingface_hub 2.4 uploads files in a way that httpx2 deprecates
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

REPO = "someone/groceries"
CONTEXT = "soap that smells of product 7"
USER = UserHistory([Order(["p3", "p7"]), Order(["p3"], days_since_prior_order=7)])


def push(model_dir: Path, repo_id: str, **settings: object) -> Pushed:
    return push_model(PushSettings(model_dir, repo_id, **settings))


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def served(hub, repo=REPO, branch="main"):
    repository = hub.repositories[repo]
    return repository.commits[repository.branches[branch]]


def rankings(model, corpus):
    recommender = Recommender(model, corpus, use_index=False)
    assert recommender.ranker is not None
    answers = recommender.recommend(CONTEXT), recommender.recommend(USER)
    return recommender.encoder.encode([CONTEXT]), [
        [(item.product_id, item.score) for item in answer] for answer in answers
    ]


def test_what_is_pushed_answers_by_id_and_by_revision_as_the_folder_does(hub, model_dir, corpus):
    embedding, answers = rankings(model_dir, corpus)
    pushed = push(model_dir, REPO)
    for name in (REPO, pushed.pinned, f"{REPO}@main"):
        loaded, loaded_answers = rankings(name, corpus)
        np.testing.assert_array_equal(loaded, embedding)
        assert loaded_answers == answers


def test_a_pinned_revision_stays_what_it_was_when_the_model_is_pushed_again(hub, model_dir, corpus):
    first = push(model_dir, REPO)
    embedding, _ = rankings(first.pinned, corpus)
    _shift_weights(model_dir)
    second = push(model_dir, REPO)
    assert second.commit != first.commit
    np.testing.assert_array_equal(rankings(first.pinned, corpus)[0], embedding)
    assert np.abs(rankings(REPO, corpus)[0] - embedding).max() > 1e-3


def _shift_weights(model_dir: Path) -> None:
    from safetensors.torch import load_file, save_file

    (weights,) = model_dir.rglob("model.safetensors")
    shifted = {name: tensor + 0.5 * tensor.roll(1, 0) for name, tensor in load_file(weights).items()}
    save_file(shifted, weights, metadata={"format": "pt"})


def test_a_service_names_its_model_after_the_hub_and_by_its_content(hub, model_dir, corpus, tmp_path):
    from fastapi.testclient import TestClient

    from lit_rec.service.app import create_app
    from lit_rec.service.settings import ServiceSettings

    pinned = push(model_dir, REPO).pinned
    about = {"corpus_path": corpus, "feedback_db_path": str(tmp_path / "feedback.db"), "serve_page": False}
    versions = []
    for model in (pinned, str(model_dir)):
        app = create_app(ServiceSettings(_env_file=None, model_dir=model, **about))
        with TestClient(app) as client:
            assert app.state.engine.wait(60) == "ready"
            answer = client.post("/recommend", json={"history": [{"product_ids": ["p3", "p7"]}], "explain": True})
            assert answer.json()["recommendations"][0]["reason"]
            versions.append(answer.json()["model_version"].rpartition("-"))
    assert versions[0][0] == "groceries"
    assert versions[0][2] == versions[1][2]


def test_evaluate_and_compare_take_the_whole_model(hub, model_dir, corpus):
    from lit_rec.evaluation.compare import recorded_base_model
    from lit_rec.evaluation.methods import model_methods

    pinned = push(model_dir, REPO).pinned
    assert [one.name for one in model_methods(pinned, corpus)] == [pinned, f"{pinned}, encoder only"]
    assert [one.name for one in model_methods("someone/nothing", corpus)] == ["someone/nothing"]
    assert recorded_base_model(pinned) == recorded_base_model(str(model_dir))


def test_a_model_in_the_cache_needs_no_hub(hub, model_dir, corpus, monkeypatch):
    pushed = push(model_dir, REPO)
    online = rankings(REPO, corpus)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    asked = len(hub.requests)
    for name in (REPO, pushed.pinned):
        offline = rankings(name, corpus)
        np.testing.assert_array_equal(offline[0], online[0])
        assert offline[1] == online[1]
    assert len(hub.requests) == asked


def test_offline_without_a_cache_says_what_to_do(hub, model_dir, corpus, monkeypatch):
    push(model_dir, REPO)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelFolderError, match=r"HF_HUB_OFFLINE is set.*cache.*Unset HF_HUB_OFFLINE for a first"):
        Recommender(REPO, corpus)
    with pytest.raises(HubError, match=r"HF_HUB_OFFLINE is set. Unset it"):
        push(model_dir, REPO)


def test_a_hub_that_cannot_be_reached_is_named(hub, model_dir, corpus):
    hub.close()
    with pytest.raises(
        ModelFolderError, match=f"{hub.url}: .*refused.*not whole in the cache.*Check the connection and HF_ENDPOINT"
    ):
        Recommender(REPO, corpus)
    with pytest.raises(HubError, match=f"{REPO} could not be pushed: .*Check the connection"):
        push(model_dir, REPO)


def test_only_what_loading_reads_is_pushed_and_nothing_that_unpickles(hub, model_dir, caplog):
    (model_dir / "optimizer.pt").write_bytes(b"a pickle")
    (model_dir / "onnx").mkdir()
    (model_dir / "onnx" / "model.onnx").write_bytes(b"a graph")
    with caplog.at_level(logging.INFO, "lit_rec"):
        push(model_dir, REPO)
    local = {file.relative_to(model_dir).as_posix(): file for file in model_dir.rglob("*") if file.is_file()}
    expected = {name for name in local if Path(name).suffix in {".safetensors", ".json", ".txt"}} | {"README.md"}
    assert set(served(hub)) - {".gitattributes"} == expected
    assert {schema.RANKER, schema.RANKER_WEIGHTS, schema.MODEL_RECORD, "modules.json"} <= expected
    for name in expected - {"README.md"}:
        assert served(hub)[name] == local[name].read_bytes()
    assert "onnx/model.onnx, optimizer.pt" in caplog.text


def test_a_revision_is_one_model_an_old_ranker_goes_with_the_old_one(hub, model_dir, corpus):
    push(model_dir, REPO)
    served(hub)["pictures/mine.png"] = b"added on the Hub's own page"
    for name in (schema.RANKER, schema.RANKER_WEIGHTS):
        (model_dir / name).unlink()
    push(model_dir, REPO)
    assert not {schema.RANKER, schema.RANKER_WEIGHTS} & set(served(hub))
    assert "pictures/mine.png" in served(hub)
    assert Recommender(REPO, corpus, use_index=False).ranker is None


def test_pushing_the_same_again_makes_no_commit(hub, model_dir):
    first = push(model_dir, REPO)
    assert push(model_dir, REPO).commit == first.commit


def test_the_corpus_goes_along_when_it_is_named(hub, model_dir, corpus):
    push(model_dir, REPO)
    assert schema.EVAL_CORPUS not in served(hub)
    push(model_dir, REPO, corpus=corpus)
    assert served(hub)[schema.EVAL_CORPUS] == corpus.read_bytes()
    assert "hf download someone/groceries eval_corpus.json" in served(hub)["README.md"].decode()


def test_a_branch_leaves_main_alone(hub, model_dir, corpus):
    main_commit = push(model_dir, REPO).commit
    _shift_weights(model_dir)
    pushed = push(model_dir, REPO, branch="candidate")
    assert hub.repositories[REPO].branches == {"main": main_commit, "candidate": pushed.commit}
    np.testing.assert_array_equal(rankings(f"{REPO}@candidate", corpus)[0], rankings(model_dir, corpus)[0])
    push(model_dir, REPO, branch="candidate")


def test_private_means_private(hub, model_dir, corpus, monkeypatch):
    push(model_dir, REPO, private=True)
    assert hub.repositories[REPO].private
    push(model_dir, "someone/open")
    with pytest.raises(SettingError, match="someone/open must be private: it is there already, and public"):
        push(model_dir, "someone/open", private=True)
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(ModelFolderError, match=r"'someone/groceries'.*does not show it.*HF_TOKEN"):
        Recommender(REPO, corpus)


def test_the_token_comes_from_dotenv_too_and_is_never_shown(hub, model_dir, corpus, monkeypatch, caplog, capfd):
    monkeypatch.delenv("HF_TOKEN")
    Path(".env").write_text(f"# secrets\nHF_TOKEN='{hub.token}'\n", encoding="utf-8")
    with caplog.at_level(logging.DEBUG):
        push(model_dir, REPO, private=True)
        Recommender(REPO, corpus, use_index=False)
    Path(".env").write_text("HF_TOKEN=hf_wrong_one\n", encoding="utf-8")
    with pytest.raises(HubError, match=r"the token may not write there. Put HF_TOKEN") as refused:
        push(model_dir, REPO)
    shown = caplog.text + "".join(capfd.readouterr()) + str(refused.value)
    assert hub.token not in shown
    assert "hf_wrong_one" not in shown
    Path(".env").unlink()
    with pytest.raises(HubError, match="no token was given"):
        push(model_dir, REPO)


def test_what_the_hub_refuses_is_said(hub, model_dir):
    hub.fail_commits_with = 400
    with pytest.raises(HubError, match=r"could not be pushed: no luck today.*try again"):
        push(model_dir, REPO)


def test_a_revision_that_is_not_there_is_named(hub, model_dir, corpus):
    push(model_dir, REPO)
    with pytest.raises(ModelFolderError, match="'someone/groceries@v9': it has no revision 'v9'"):
        Recommender(f"{REPO}@v9", corpus)


def test_a_repository_of_pickles_is_not_loaded(hub, corpus):
    from fake_hub import Repository

    hub.repositories[REPO] = Repository(private=False)
    hub.repositories[REPO].commit("main", {"pytorch_model.bin": b"a pickle", "config.json": b"{}"})
    with pytest.raises(ModelFolderError, match="it holds no weights in safetensors"):
        Recommender(REPO, corpus)
    assert not [request for request in hub.requests if "pytorch_model.bin" in request]


def test_a_folder_without_metrics_is_refused_unless_told_otherwise(hub, model_dir):
    for name in (schema.RANKER, schema.RANKER_WEIGHTS):
        (model_dir / name).unlink()
    record = json.loads((model_dir / schema.MODEL_RECORD).read_text())
    (model_dir / schema.MODEL_RECORD).write_text(json.dumps({**record, "metrics": {}}))
    with pytest.raises(NotMeasuredError, match=r"records no metrics: .*--allow_unmeasured true"):
        push(model_dir, REPO)
    assert hub.requests == []
    push(model_dir, REPO, allow_unmeasured=True)
    card = ModelCard(served(hub)["README.md"].decode())
    assert card.data.eval_results is None
    assert "Nothing was measured" in card.text


def test_the_card_states_what_was_recorded_for_the_weights_that_are_there(model_dir):
    card = ModelCard(str(model_card(model_dir, REPO)))
    front = yaml.safe_load(str(card).split("---")[1])
    assert front["library_name"] == "sentence-transformers"
    assert front["base_model"] == "sentence-transformers/all-MiniLM-L6-v2"
    assert {"lit_rec", "sentence-transformers"} <= set(front["tags"])
    assert front["metrics"] == ["ndcg@10", "recall@10"]
    found = {result.metric_name: result.metric_value for result in card.data.eval_results}
    assert found == {"ndcg@10, text encoder": 0.25, "recall@10, text encoder": 0.125, "ndcg@10, ranker": 0.5}
    assert {result.dataset_name for result in card.data.eval_results} == {"p5_mp20_ef0.5"}
    assert "| ndcg@10 | 0.2500 | 0.5000 |" in card.text
    assert "| recall@10 | 0.1250 |  |" in card.text
    assert "| n_queries | 1,200 | 1,200 |" in card.text
    assert "/home/someone" not in str(card)
    assert "\n\n\n" not in card.text


def test_a_base_model_that_is_a_local_folder_is_no_base_model_of_the_hub(model_dir):
    record = json.loads((model_dir / schema.MODEL_RECORD).read_text())
    (model_dir / schema.MODEL_RECORD).write_text(json.dumps({**record, "model": {"base_model": "/srv/base"}}))
    assert "/srv/base" not in str(model_card(model_dir, REPO))


@pytest.mark.parametrize("repo_id", ["groceries", "someone/groceries@main", "a/b/c", "../up"])
def test_an_id_that_is_none_is_refused(repo_id, model_dir):
    with pytest.raises(SettingError, match="repo_id must be owner/name"):
        push(model_dir, repo_id)


def test_what_is_not_there_is_named(model_dir, tmp_path):
    with pytest.raises(ModelFolderError, match="there is no such folder"):
        push(tmp_path / "nowhere", REPO)
    with pytest.raises(NotPreparedError, match=r"No corpus at .*nothing\.json"):
        push(model_dir, REPO, corpus=tmp_path / "nothing.json")
    for file in model_dir.rglob("*.safetensors"):
        file.unlink()
    with pytest.raises(ModelFolderError, match="it holds no weights"):
        push(model_dir, REPO)


def test_the_command_pushes_and_says_what_loads_it(hub, model_dir, corpus, capsys):
    flags = ["--repo_id", REPO, "--corpus", str(corpus), "--branch", "candidate", "--private", "true"]
    pinned = main(["push", "--model_dir", str(model_dir), *flags])
    assert pinned == f"{REPO}@{hub.repositories[REPO].branches['candidate']}"
    assert f"--model_dir {pinned}" in capsys.readouterr().out.replace("\n", "")


def test_the_command_takes_hub_and_token_from_the_environment(hub, model_dir, tmp_path):
    """In a process of its own: the client reads HF_ENDPOINT and HF_TOKEN by itself."""
    environment = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "home")}
    environment |= {"HF_TOKEN": hub.token, "HF_HUB_DISABLE_XET": "1"}
    answer = subprocess.run(
        [sys.executable, "-m", "lit_rec", "push", "--model_dir", str(model_dir), "--repo_id", REPO],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert answer.returncode == 0, answer.stderr
    assert hub.token not in answer.stdout + answer.stderr
    assert "README.md" in served(hub)
