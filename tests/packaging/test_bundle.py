"""A bundle is whole, is what was written, and recommends what the model folder does."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from lit_rec.artifacts.model_folder import product_digests
from lit_rec.core.errors import BundleError, CatalogueError, NotPreparedError, ProcessedFolderError, SettingError
from lit_rec.core.schema import Backend
from lit_rec.inference.recommender import Recommender
from lit_rec.packaging.bundle import Bundle, source_sha256, write_bundle

QUERY = "[+7d w4h14] milk, bread."


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    file = tmp_path_factory.mktemp("corpus") / "catalogue.json"
    names = ("milk", "bread", "soap", "tea", "rice")
    file.write_text(json.dumps({f"p{row}": f"Product: {name}." for row, name in enumerate(names)}))
    return file


@pytest.fixture(scope="module")
def expected(tiny_model, corpus):
    return Recommender(tiny_model, corpus, use_index=False, device="cpu").recommend(QUERY, 3)


@pytest.fixture(scope="module", params=["torch", "onnx_int8"])
def bundle(request, tiny_model, corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle") / request.param
    metrics = {"text encoder": {"ndcg@10": 0.25}}
    return write_bundle(
        tiny_model,
        corpus,
        folder,
        name="tiny",
        backend=Backend(request.param),
        metrics=metrics,
        users={"7": {"context": QUERY, "orders": []}},
    )


def test_it_recommends_what_the_model_folder_does_and_encodes_no_product_again(
    bundle, expected, tiny_model, corpus, caplog
):
    caplog.set_level("INFO", logger="lit_rec")
    recommender = Bundle.load(bundle.folder).recommender()
    assert "Encoding" not in caplog.text
    answer = recommender.recommend(QUERY, 3)
    within = 1e-5 if bundle.backend == "torch" else 0.02
    plain = Recommender(tiny_model, corpus, use_index=False, device="cpu").index.embeddings
    np.testing.assert_allclose(recommender.index.embeddings, plain, atol=1e-5, err_msg="the catalogue loses nothing")
    assert {item.product_id: item.score for item in answer} == pytest.approx(
        {item.product_id: item.score for item in expected}, abs=within
    )


def test_the_manifest_says_what_it_is(bundle, tiny_model, corpus, tmp_path):
    manifest = json.loads((bundle.folder / "manifest.json").read_text())
    assert manifest == bundle.manifest
    assert manifest["metrics"] == {"text encoder": {"ndcg@10": 0.25}}
    assert manifest["lit_rec_source_sha256"] == source_sha256()
    assert ("torch" in manifest["packages"]) == (bundle.backend == "torch")
    files = {file.relative_to(bundle.folder).as_posix() for file in bundle.folder.rglob("*") if file.is_file()}
    assert files - set(manifest["sha256"]) == {"manifest.json"}
    name, _, digest = manifest["model_version"].partition("-")
    assert (name, len(digest)) == ("tiny", 12)
    assert bundle.users_file is not None
    weights = {"model/model.safetensors", "model/onnx/model.onnx", "model/onnx/model_int8.onnx"}
    assert len(files & weights) == 1, "weights are there once"


def test_the_version_is_of_the_content_and_the_catalogue_is_encoded_once(tiny_model, corpus, tmp_path, caplog):
    caplog.set_level("INFO", logger="lit_rec")
    corpus = shutil.copy(corpus, tmp_path / "corpus.json")
    versions = [
        write_bundle(tiny_model, corpus, tmp_path / name, name=name, users=users).manifest["model_version"]
        for name, users in (("a", {}), ("b", {}), ("c", {"1": {}}))
    ]
    assert versions[0][2:] == versions[1][2:] != versions[2][2:]
    assert caplog.text.count("Encoding 5 products") == 1
    assert Bundle.load(tmp_path / "a").users_file is None


def test_a_bundle_of_version_0_1_still_has_its_users(bundle, tmp_path):
    folder = shutil.copytree(bundle.folder, tmp_path / "bundle")
    users = (folder / "users.json").rename(folder / "shoppers.json")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["sha256"]["shoppers.json"] = manifest["sha256"].pop("users.json")
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert Bundle.load(folder).users_file == users


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda folder: (folder / "corpus.json").write_text('{"1": "tea"}'), id="a changed file"),
        pytest.param(lambda folder: (folder / "model" / "modules.json").unlink(), id="a missing file"),
    ],
)
def test_a_damaged_bundle_is_refused(bundle, tmp_path, damage):
    folder = shutil.copytree(bundle.folder, tmp_path / "bundle")
    damage(folder)
    with pytest.raises(BundleError, match=r"is damaged: missing or changed: (corpus|model/modules)\.json"):
        Bundle.load(folder)


@pytest.mark.parametrize(
    "content", ["", "[]", "null", "{}", '{"sha256": {}, "model_version": "a", "backend": "abacus"}']
)
def test_what_is_no_bundle(tmp_path, content):
    with pytest.raises(BundleError, match="No bundle at"):
        Bundle.load(tmp_path / "nothing")
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(BundleError, match=r"No bundle at .*Write one with the command package"):
        Bundle.load(tmp_path)


def test_the_source_is_names_and_contents_without_caches(tmp_path):
    package = tmp_path / "a"
    (package / "part").mkdir(parents=True)
    (package / "part" / "one.py").write_text("1")
    first = source_sha256(package)
    assert source_sha256(shutil.copytree(package, tmp_path / "elsewhere")) == first
    (package / "part" / "__pycache__").mkdir()
    (package / "part" / "__pycache__" / "one.pyc").write_text("x")
    (package / ".hidden").write_text("x")
    assert source_sha256(package) == first
    (package / "part" / "one.py").write_text("2")
    changed = source_sha256(package)
    (package / "part" / "one.py").rename(package / "part" / "two.py")
    assert len({first, changed, source_sha256(package)}) == 3


def test_another_source_than_the_one_that_packaged(bundle, monkeypatch):
    bundle.check_source()
    monkeypatch.setattr("lit_rec.packaging.bundle.source_sha256", lambda: "0" * 64)
    with pytest.raises(BundleError, match=r"packaged with another lit_rec .*here 0000"):
        bundle.check_source()


@pytest.mark.parametrize(
    ("content", "error"), [(None, NotPreparedError), ("[]", ProcessedFolderError), ("{", ProcessedFolderError)]
)
def test_a_corpus_that_is_none_leaves_nothing(tiny_model, tmp_path, content, error):
    if content is not None:
        (tmp_path / "corpus.json").write_text(content)
    with pytest.raises(error):
        write_bundle(tiny_model, tmp_path / "corpus.json", tmp_path / "bundles" / "one", name="a")
    assert list((tmp_path / "bundles").iterdir()) == []


@pytest.mark.parametrize("name", ["", "a b", "a/b", "..", "ä:1"])
def test_names_that_would_be_no_tag(tiny_model, corpus, tmp_path, name):
    with pytest.raises(SettingError, match="name must be of letters"):
        write_bundle(tiny_model, corpus, tmp_path / "bundle", name=name)


SERVING = """
import sys

for name in "torch huggingface_hub sentence_transformers sklearn datasets polars pyarrow onnx".split():
    sys.modules[name] = None  # importing it is an ImportError
from lit_rec.packaging.bundle import Bundle

bundle = Bundle.load(sys.argv[1])
bundle.check_source()
print([item.product_id for item in bundle.recommender().recommend(sys.argv[2], 3)])
"""


def test_an_onnx_bundle_is_served_where_torch_is_not_installed(bundle):
    if bundle.backend == Backend.TORCH:
        return
    command = [sys.executable, "-W", "error", "-c", SERVING, str(bundle.folder), QUERY]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    served = subprocess.run(command, env=environment, check=False, capture_output=True, text=True, timeout=120)
    assert served.returncode == 0, served.stderr
    assert served.stdout.strip() == str([item.product_id for item in bundle.recommender().recommend(QUERY, 3)])


def test_the_catalogue_of_another_shop_is_refused_and_nothing_is_left(tiny_model, corpus, tmp_path):
    model = shutil.copytree(tiny_model, tmp_path / "model")
    (model / "catalogue.json").write_text(
        json.dumps(product_digests({"p0": "Product: a bolt.", "p1": "Product: a nut."}))
    )
    with pytest.raises(CatalogueError, match=r"catalogue.json is not the catalogue of this model"):
        write_bundle(model, corpus, tmp_path / "bundle", name="tiny")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
