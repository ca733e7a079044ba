"""The models behind the service: loaded in the background, warmed where they serve, split by user."""

import asyncio
import shutil
import threading
from collections import Counter

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from lit_rec.artifacts.model_folder import product_digests
from lit_rec.core import schema
from lit_rec.core.files import write_json
from lit_rec.data.orders import UserHistory
from lit_rec.inference.backends import TorchBackend
from lit_rec.inference.recommender import Recommender
from lit_rec.service.batching import BatchingQueue
from lit_rec.service.engine import Engine, NotReadyError, RankRequest
from lit_rec.service.monitoring import Monitoring
from lit_rec.service.settings import ArmSettings, ServiceSettings


@pytest.fixture
def settings(tiny_model, corpus_path, tmp_path):
    def of(**others):
        values = {"model_dir": str(tiny_model), "corpus_path": corpus_path, **others}
        if "arms" in others:
            del values["model_dir"], values["corpus_path"]
        return ServiceSettings(_env_file=None, feedback_db_path=str(tmp_path / "feedback.db"), **values)

    return of


@pytest.fixture
def engine(settings):
    engines = []

    def of(**others):
        engines.append(Engine(settings(**others), Monitoring()))
        return engines[-1]

    yield of
    for each in engines:
        if each.state != "loading":
            each.close()


def two_arms(tiny_model, ranked_model, corpus_path, weight=1.0):
    text = ArmSettings(model_dir=str(tiny_model), corpus_path=corpus_path)
    ranked = ArmSettings(model_dir=str(ranked_model), corpus_path=corpus_path, weight=weight)
    return {"text": text, "ranked": ranked}


def test_the_catalogue_of_another_shop_is_refused(engine, tiny_model, corpus_path, tmp_path, caplog):
    model = shutil.copytree(tiny_model, tmp_path / "model")
    write_json(model / schema.MODEL_CATALOGUE, product_digests({"1": "Product: a bolt.", "2": "Product: a nut."}))
    one = engine(model_dir=str(model))
    one.start()
    assert one.wait(60) == "failed"
    assert f"{corpus_path} is not the catalogue of this model" in caplog.text


def test_until_it_is_loaded_it_answers_nothing(engine):
    one = engine()
    assert (one.state, one.is_ready) == ("loading", False)
    with pytest.raises(NotReadyError, match="loading"):
        asyncio.run(one.recommend(RankRequest("milk"), "u"))
    with pytest.raises(NotReadyError):
        _ = one.arms["default"].recommender


def test_blas_gives_each_ranking_thread_one_core(engine, monkeypatch):
    scores, of_blas = Recommender.scores, []

    def looked_at(self, *arguments):
        of_blas.extend(each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas")
        return scores(self, *arguments)

    as_many_as_it_likes = threading.Thread(target=threadpool_limits, args=(2, "blas"))
    as_many_as_it_likes.start()
    as_many_as_it_likes.join()
    one = engine()
    one.start()
    assert one.wait(60) == "ready"
    monkeypatch.setattr(Recommender, "scores", looked_at)
    asyncio.run(one.recommend(RankRequest("milk"), "u"))
    assert of_blas
    assert set(of_blas) == {1}


def test_a_model_that_cannot_be_loaded_leaves_it_failed(engine, tmp_path, caplog):
    one = engine(model_dir=str(tmp_path))
    one.start()
    assert one.wait(60) == "failed"
    assert [record.exc_info[0].__name__ for record in caplog.records if record.exc_info] == ["ModelFolderError"]
    with pytest.raises(NotReadyError, match="failed"):
        asyncio.run(one.recommend(RankRequest("milk"), "u"))


def test_each_encoding_thread_has_a_tokenizer_of_its_own_and_shares_the_weights(engine, monkeypatch):
    used = {}
    encode = TorchBackend.encode

    def noted(self, texts, **options):
        used[threading.current_thread().name] = self
        return encode(self, texts, **options)

    monkeypatch.setattr(TorchBackend, "encode", noted)
    one = engine(encoder_threads=3)
    one.start()
    assert one.wait(60) == "ready"
    encoders = [used[f"encode-default-{number}"] for number in range(3)]
    assert len({id(encoder.model.tokenizer) for encoder in encoders}) == 3
    weights = [next(encoder.model.parameters()) for encoder in encoders]
    assert weights[0] is weights[1] is weights[2]


def test_many_at_once_are_answered_as_one_by_one(engine, tiny_model, corpus_path, queries):
    one, contexts = engine(max_batch_size=4), [*queries.values(), "milk", "(no prior orders)."] * 3
    one.start()
    assert one.wait(60) == "ready"

    async def all_at_once():
        return await asyncio.gather(*(one.recommend(RankRequest(context), "u") for context in contexts))

    answers = asyncio.run(all_at_once())
    recommender = Recommender(tiny_model, corpus_path)
    for context, answer in zip(contexts, answers, strict=True):
        expected = recommender.recommend(context)
        scores = [each.score for each in answer.recommendations]
        np.testing.assert_allclose(scores, [each.score for each in expected], atol=1e-5)
    sizes = one.monitoring.registry.get_sample_value("encode_batch_size_sum")
    assert sizes == len(contexts)
    assert one.monitoring.registry.get_sample_value("encode_batch_size_count") < len(contexts)


def test_histories_ranked_together_are_answered_each_by_its_own_wishes(engine, ranked_model, corpus_path, queries):
    recommender = Recommender(ranked_model, corpus_path)
    histories = [recommender.history_from_context(context) for context in queries.values()] + [UserHistory()]
    excluded = [[], ["1", "2", "3"], [], list(recommender.corpus)[:50]]
    asked = [
        RankRequest(history=history, top_k=1 + number % 20, exclude_product_ids=excluded[number % 4])
        for number, history in enumerate(histories * 2)
    ]
    one = engine(model_dir=str(ranked_model))
    one.start()
    assert one.wait(60) == "ready"

    async def all_at_once():
        return await asyncio.gather(*(one.recommend(question, "u") for question in asked))

    for question, answer in zip(asked, asyncio.run(all_at_once()), strict=True):
        expected = recommender.recommend(question.history, question.top_k, question.exclude_product_ids)
        assert [each.product_id for each in answer.recommendations] == [each.product_id for each in expected]
        assert [each.reason for each in answer.recommendations] == [each.reason for each in expected]
        assert answer.mode == ("history" if question.history.orders else "text")


def test_a_user_stays_with_an_arm_and_arms_get_their_shares(engine, tiny_model, ranked_model, corpus_path):
    arms = two_arms(tiny_model, ranked_model, corpus_path, weight=3)
    first, second = engine(arms=arms), engine(arms=arms)
    chosen = [first.arm_of(f"user {number}").name for number in range(4_000)]
    assert chosen == [second.arm_of(f"user {number}").name for number in range(4_000)], "also after a restart"
    assert Counter(chosen)["ranked"] / len(chosen) == pytest.approx(0.75, abs=0.03)


def test_another_experiment_splits_the_users_anew(engine, tiny_model, ranked_model, corpus_path):
    arms = two_arms(tiny_model, ranked_model, corpus_path)
    names = {"text": "old", "ranked": "new"}
    first, second = engine(arms=arms), engine(arms={names[name]: arm for name, arm in arms.items()})
    same = [names[first.arm_of(f"{number}").name] == second.arm_of(f"{number}").name for number in range(2_000)]
    assert np.mean(same) == pytest.approx(0.5, abs=0.05)


def test_an_answer_names_its_arm_and_is_its_model_s(start, tiny_model, ranked_model, corpus_path, queries):
    context = max(queries.values(), key=len)
    expected = {
        "text": Recommender(tiny_model, corpus_path).recommend(context),
        "ranked": Recommender(ranked_model, corpus_path).recommend(context),
    }
    with start(arms=two_arms(tiny_model, ranked_model, corpus_path)) as one:
        versions = one.get("/ready").json()["models"]
        assert len(set(versions.values())) == 2
        seen = set()
        for number in range(12):
            answer = one.post("/recommend", json={"user_id": f"u{number}", "user_context": context}).json()
            again = one.post("/recommend", json={"user_id": f"u{number}", "user_context": context}).json()
            arm = answer["arm"]
            seen.add(arm)
            assert again["arm"] == arm
            assert answer["model_version"] == versions[arm]
            found = [each["product_id"] for each in answer["recommendations"]]
            assert found == [each.product_id for each in expected[arm]]
        assert seen == {"text", "ranked"}


def test_a_version_changes_with_the_content_and_not_with_the_place(
    engine, tiny_model, ranked_model, corpus_path, tmp_path
):
    import shutil

    moved = shutil.copytree(ranked_model, tmp_path / "elsewhere" / "final")
    arms = two_arms(tiny_model, ranked_model, corpus_path)
    arms["moved"] = ArmSettings(model_dir=str(moved), corpus_path=corpus_path)
    one = engine(arms=arms, encoder_threads=1)
    one.start()
    assert one.wait(60) == "ready"
    versions = {name: arm.model_version.rpartition("-") for name, arm in one.arms.items()}
    assert versions["moved"][0] == "elsewhere"
    assert versions["moved"][2] == versions["ranked"][2] != versions["text"][2]
    assert all(len(version[2]) == 12 for version in versions.values())


def test_a_bundle_is_served_under_its_own_version(start, tiny_model, corpus_path, tmp_path, queries):
    from lit_rec.packaging.bundle import write_bundle

    user_id, context = next(iter(queries.items()))
    orders = [{"product_ids": ["1"], "days_since_prior_order": None, "order_dow": 1, "order_hour_of_day": 8}]
    users = {user_id: {"context": context, "orders": orders, "next": ["2"]}}
    bundle = write_bundle(tiny_model, corpus_path, tmp_path / "bundle", name="tiny", users=users)
    with start(bundle=tmp_path / "bundle") as one:
        assert one.get("/ready").json()["models"] == {"default": bundle.manifest["model_version"]}
        assert one.post("/recommend", json={"user_id": user_id}).status_code == 200
        assert one.app.state.users.get(user_id).next_product_ids == ("2",)


@pytest.mark.parametrize("has_ranker", [False, True])
def test_a_request_crosses_each_queue_once_at_most(engine, tiny_model, ranked_model, queries, monkeypatch, has_ranker):
    run, crossed = BatchingQueue.run, []

    async def noted(self, item, deadline_seconds):
        crossed.append("encode" if isinstance(item, str) else "rank")
        return await run(self, item, deadline_seconds)

    monkeypatch.setattr(BatchingQueue, "run", noted)
    one = engine(model_dir=str(ranked_model if has_ranker else tiny_model))
    one.start()
    assert one.wait(60) == "ready"
    named = max(queries.values(), key=len)
    for request in (RankRequest(named), RankRequest(history=UserHistory()), RankRequest("milk", UserHistory())):
        crossed.clear()
        answer = asyncio.run(one.recommend(request, "u"))
        is_by_history = has_ranker and request.context == named
        assert answer.mode == ("history" if is_by_history else "text")
        assert crossed == (["rank"] if is_by_history else ["encode", "rank"])
