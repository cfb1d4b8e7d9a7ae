"""Small models with real files, for the libraries that run them: made here, so that nothing is fetched."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

WORDS = re.findall(
    r"\S+",
    """a about all allergic and are at be cancelled cat dark deploys do ferry fridays frozen has how in is island it
    light maya mode of on our passage prefers query represent search sentence settings she the theme to ui user
    walnuts was we what when who why with you your note""",
)
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LETTERS = [letter for start in ("", "##") for letter in (start + chr(code) for code in range(33, 127))]
VOCABULARY = list(dict.fromkeys([*SPECIAL, *WORDS, *LETTERS]))
DIMENSIONS = 24
LONGEST_TOKENS = 64


def write_tokenizer(folder: Path) -> None:
    """A WordPiece tokenizer as BERT's: `tokenizer.json`, its configuration and `vocab.txt`."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {token: place for place, token in enumerate(VOCABULARY)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY), encoding="utf-8")
    special = {
        "unk_token": "[UNK]",
        "pad_token": "[PAD]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
    }
    (folder / "special_tokens_map.json").write_text(json.dumps(special))
    configuration = {"tokenizer_class": "BertTokenizer", "model_max_length": LONGEST_TOKENS, **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(configuration))
    (folder / "config.json").write_text(json.dumps({"pad_token_id": 0}))


def write_onnx_model(folder: Path, file: str = "model.onnx") -> None:
    """A folder that fastembed takes for a model: every token has a vector at random, and that is its state."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    write_tokenizer(folder)
    vectors = np.random.default_rng(7).standard_normal((len(VOCABULARY), DIMENSIONS)).astype(np.float32)
    whole_numbers = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"])
        for name in ("input_ids", "attention_mask")
    ]
    state = helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, ["batch", "tokens", DIMENSIONS])
    graph = helper.make_graph(
        [helper.make_node("Gather", ["vectors", "input_ids"], ["last_hidden_state"])],
        "token_vectors",
        whole_numbers,
        [state],
        [numpy_helper.from_array(vectors, "vectors")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(folder / file))


def write_sentence_transformer(folder: Path, prompts: dict[str, str]) -> None:
    """A folder that sentence-transformers takes for a model: a BERT of one layer with weights at random."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    bert = folder / "bert"
    write_tokenizer(bert)
    torch.manual_seed(7)
    configuration = BertConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=DIMENSIONS,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=2 * DIMENSIONS,
        max_position_embeddings=LONGEST_TOKENS,
        initializer_range=1.0,
    )
    BertModel(configuration).save_pretrained(bert)
    PreTrainedTokenizerFast(
        tokenizer_file=str(bert / "tokenizer.json"),
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=LONGEST_TOKENS,
    ).save_pretrained(bert)
    transformer = Transformer(str(bert))
    model = SentenceTransformer(
        modules=[transformer, Pooling(DIMENSIONS, pooling_mode="mean")], prompts=prompts, device="cpu"
    )
    model.save(str(folder), create_model_card=False)
