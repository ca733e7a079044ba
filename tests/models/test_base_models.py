"""Base models of other architectures than BERT: their limits, a tokenizer without padding, a folder that was moved."""

import shutil

import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import GPT2Config, GPT2Model, PreTrainedTokenizerFast, RobertaConfig, RobertaModel

from lit_rec.core.errors import ModelFolderError, SettingError
from lit_rec.models.bi_encoder import BiEncoder
from lit_rec.models.encoder import TextEncoder

WORDS = ["<s>", "<pad>", "</s>", "<unk>", "milk", "bread", "bananas"]


def saved(transformer, folder, *, is_padded):
    words = Tokenizer(WordLevel({word: row for row, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = Whitespace()
    special = {"eos_token": "</s>", "unk_token": "<unk>"}
    if is_padded:
        words.post_processor = TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
        special |= {"pad_token": "<pad>", "bos_token": "<s>"}
    transformer.save_pretrained(folder / "plain")
    PreTrainedTokenizerFast(tokenizer_object=words, **special).save_pretrained(folder / "plain")
    modules = [Transformer(str(folder / "plain")), Pooling(16), Normalize()]
    SentenceTransformer(modules=modules, device="cpu").save(str(folder / "model"))
    return folder / "model"


@pytest.fixture
def roberta(tmp_path):
    """Twenty positions, the first two of which are never used."""
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = RobertaConfig(vocab_size=len(WORDS), max_position_embeddings=20, pad_token_id=1, **sizes)
    return saved(RobertaModel(config), tmp_path, is_padded=True)


@pytest.fixture
def gpt2(tmp_path):
    """A tokenizer that knows no padding."""
    config = GPT2Config(vocab_size=len(WORDS), n_positions=20, n_embd=16, n_layer=1, n_head=2)
    return saved(GPT2Model(config), tmp_path, is_padded=False)


def embed(encoder, texts):
    rows = [torch.tensor(ids) for ids in encoder.token_ids(texts)]
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=encoder.pad_token_id)
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
    with torch.no_grad():
        return encoder.eval()([{"input_ids": ids, "attention_mask": mask}])


def test_the_limit_that_is_named_works_and_one_more_is_refused(roberta):
    encoder = TextEncoder(str(roberta), max_seq_length=18)
    assert embed(encoder, ["milk " * 50]).isfinite().all()
    with pytest.raises(SettingError, match=r"from 3, special tokens and one more, to the base model's 18: got 19"):
        TextEncoder(str(roberta), max_seq_length=19)


def test_there_must_be_room_for_a_word(roberta):
    assert embed(TextEncoder(str(roberta), max_seq_length=3), ["milk bread"]).isfinite().all()
    with pytest.raises(SettingError, match=r"from 3.*got 2"):
        TextEncoder(str(roberta), max_seq_length=2)


def test_a_tokenizer_without_padding_pads_with_what_masks_leave_out(gpt2, tmp_path):
    encoder = TextEncoder(str(gpt2), max_seq_length=20)
    texts = ["milk", "bread bananas milk bread"]
    together = embed(encoder, texts)
    torch.testing.assert_close(together, torch.cat([embed(encoder, [text]) for text in texts]))
    encoder.save(tmp_path / "exported")
    exported = SentenceTransformer(str(tmp_path / "exported"), device="cpu")
    torch.testing.assert_close(torch.from_numpy(exported.encode(texts)), together, atol=1e-6, rtol=0)


def test_a_base_model_is_kept_by_its_whole_path(tiny_model, tmp_path, monkeypatch):
    shutil.copytree(tiny_model, tmp_path / "bases" / "mine")
    monkeypatch.chdir(tmp_path)
    assert BiEncoder("bases/mine", max_seq_length=64).hparams["base_model"] == str(tmp_path / "bases" / "mine")


def test_a_base_model_that_was_moved_says_how_to_bring_it_back(tmp_path):
    with pytest.raises(
        ModelFolderError, match=r"there is no such folder\. If it was moved: ln -s NEW_PLACE '.*my base'"
    ):
        BiEncoder(str(tmp_path / "my base"))
