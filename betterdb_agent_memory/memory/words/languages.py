"""The languages whose words we know how to bring to their stems."""

from __future__ import annotations

from betterdb_agent_memory.errors import ConfigurationError

NO_LANGUAGE = "none"
"""Words are compared as they are written."""

CODES = {
    "arabic": "ar",
    "armenian": "hy",
    "basque": "eu",
    "catalan": "ca",
    "czech": "cs",
    "danish": "da",
    "dutch": "nl",
    "english": "en",
    "esperanto": "eo",
    "estonian": "et",
    "finnish": "fi",
    "french": "fr",
    "german": "de",
    "greek": "el",
    "hindi": "hi",
    "hungarian": "hu",
    "indonesian": "id",
    "irish": "ga",
    "italian": "it",
    "lithuanian": "lt",
    "nepali": "ne",
    "norwegian": "no",
    "persian": "fa",
    "polish": "pl",
    "portuguese": "pt",
    "romanian": "ro",
    "russian": "ru",
    "serbian": "sr",
    "sesotho": "st",
    "spanish": "es",
    "swedish": "sv",
    "tamil": "ta",
    "turkish": "tr",
    "yiddish": "yi",
}
"""Names of the languages that Snowball has a stemmer for, with their ISO 639-1 codes."""

LANGUAGES = (*CODES, NO_LANGUAGE)

_NAMES = {code: name for name, code in CODES.items()}


def language_name(language: str) -> str:
    """The name by which a language is known here, given its name or its two-letter code.

    Raises:
        ConfigurationError: nothing is known about this language; the message lists those that are.
    """
    name = str(language).strip().lower()
    name = _NAMES.get(name, name)
    if name not in LANGUAGES:
        raise ConfigurationError(
            f"language is {language!r}, which has no stemmer here; "
            f"use one of {', '.join(LANGUAGES)} ('{NO_LANGUAGE}' compares words as they are written)"
        )
    return name
