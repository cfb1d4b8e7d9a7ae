"""A small cross-encoder with real files: made here, so that nothing is fetched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.embedders.models import SPECIAL, VOCABULARY, write_tokenizer

DIMENSIONS = 16


def write_cross_encoder(folder: Path, *, scores_length: bool = False) -> None:
    """A folder that fastembed takes for a cross-encoder: how much the words of question and text agree.

    Every token has a vector at random, those that stand for no word one of zeros. The score is the product of the
    question's sum with the text's mean, so it depends on both and on the padding being masked. With `scores_length`
    the score is the number of tokens read for each text of the batch, padding included.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper
    from tokenizers import Tokenizer, processors

    write_tokenizer(folder)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, VOCABULARY.index(token)) for token in ("[CLS]", "[SEP]")],
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text(json.dumps({"pad_token_id": 0}))

    vectors = np.random.default_rng(7).standard_normal((len(VOCABULARY), DIMENSIONS)).astype(np.float32)
    vectors[: len(SPECIAL)] = 0
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"])
        for name in ("input_ids", "attention_mask", "token_type_ids")
    ]
    constants: dict[str, np.ndarray] = {
        "vectors": vectors,
        "one": np.ones((), np.float32),
        "last": np.array([2], np.int64),
        "second": np.array([1], np.int64),
    }
    steps: list[tuple[str, list[str], str, dict[str, Any]]] = [
        ("Gather", ["vectors", "input_ids"], "states", {}),
        ("Cast", ["attention_mask"], "mask", {"to": TensorProto.FLOAT}),
        ("Cast", ["token_type_ids"], "of_text", {"to": TensorProto.FLOAT}),
        ("Sub", ["one", "of_text"], "of_question", {}),
        ("Mul", ["of_text", "mask"], "text_tokens", {}),
        ("Mul", ["of_question", "mask"], "question_tokens", {}),
        ("Unsqueeze", ["text_tokens", "last"], "text_column", {}),
        ("Unsqueeze", ["question_tokens", "last"], "question_column", {}),
        ("Mul", ["states", "text_column"], "text_states", {}),
        ("Mul", ["states", "question_column"], "question_states", {}),
        ("ReduceSum", ["text_states", "second"], "text_sum", {"keepdims": 0}),
        ("ReduceSum", ["question_states", "second"], "question_sum", {"keepdims": 0}),
        ("ReduceSum", ["text_tokens", "second"], "text_length", {"keepdims": 1}),
        ("Mul", ["text_sum", "question_sum"], "products", {}),
        ("ReduceSum", ["products", "second"], "product", {"keepdims": 1}),
        ("Div", ["product", "text_length"], "logits", {}),
    ]
    if scores_length:
        steps = [
            ("Mul", ["input_ids", "nothing"], "zeros", {}),
            ("Add", ["zeros", "single"], "ones", {}),
            ("ReduceSum", ["ones", "second"], "tokens_read", {"keepdims": 1}),
            ("Cast", ["tokens_read"], "logits", {"to": TensorProto.FLOAT}),
        ]
        constants = {"nothing": np.zeros((), np.int64), "single": np.ones((), np.int64), "second": np.ones(1, np.int64)}
    graph = helper.make_graph(
        [helper.make_node(kind, given, [made], **attributes) for kind, given, made, attributes in steps],
        "agreement",
        inputs,
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 1])],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(folder / "model.onnx"))


def scores_of(folder: Path, query: str, texts: list[str]) -> list[float]:
    """What the file says, one pair at a time, through onnxruntime and the tokenizer alone."""
    from tokenizers import Tokenizer

    onnxruntime = pytest.importorskip("onnxruntime")

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    scores = []
    for text in texts:
        read = tokenizer.encode(query, text)
        inputs = {"input_ids": read.ids, "attention_mask": read.attention_mask, "token_type_ids": read.type_ids}
        [logits] = session.run(None, {name: np.array([values], np.int64) for name, values in inputs.items()})
        scores.append(float(logits[0, 0]))
    return scores
