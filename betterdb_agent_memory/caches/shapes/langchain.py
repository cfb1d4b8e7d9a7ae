"""What LangChain hands to a cache: a prompt as one text, and a text that describes the model and its settings."""

from __future__ import annotations

import json
import re
from typing import Any, Final

_MODEL_NAME: Final = re.compile(r'\bmodel_name:"([^"]+)"')


def read_langchain(prompt: str, settings: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The canonical parameters, and what they leave out.

    The model is what `settings` name as such in one of the two spellings of LangChain.js, else all of
    `settings`, which then tell everything apart. LangChain for Python spells them in a third way.
    """
    model = _model_in(settings)
    params = {"model": model, "messages": [{"role": "user", "content": prompt}]}
    return params, {} if model == settings else {"llm_string": settings}


def _model_in(settings: str) -> str:
    named = _MODEL_NAME.search(settings)
    if named is not None:
        return named[1]
    try:
        parsed = json.loads(settings)
    except (ValueError, RecursionError):
        return settings
    for name in ("model_name", "model") if isinstance(parsed, dict) else ():
        if isinstance(parsed.get(name), str):
            return str(parsed[name])
    return settings
