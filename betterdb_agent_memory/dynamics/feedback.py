"""What a person's words say of an answer: from "that was exactly it" to "no, that is wrong".

Words are compared whole, so that "I know" has no "no" in it. As in VADER (Hutto & Gilbert, *VADER: A Parsimonious
Rule-based Model for Sentiment Analysis of Social Media Text*, ICWSM 2014): a negation turns a word round and weakens
it, an intensifier strengthens it, and what follows a "but" counts more than what stands before. The words are ours, and
only such as people answer with; whoever wants more gives a function, which may ask a model.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from betterdb_agent_memory.errors import ConfigurationError
from betterdb_agent_memory.memory.words.languages import language_name
from betterdb_agent_memory.memory.words.stop_words import stop_words
from betterdb_agent_memory.memory.words.tokens import tokens

FeedbackDetector: TypeAlias = Callable[[str], float | Awaitable[float | None] | None]
"""Makes of a text an outcome from -1 to 1, or None where it says nothing of the answer; plain or async."""

_NEGATED: Final = -0.74
"""VADER's factor: "not good" is bad, but less so than "bad"."""

_REACH: Final = 3
"""Words that a negation reaches over."""

_BEFORE_BUT: Final = 0.5
_AFTER_BUT: Final = 1.5
_STRONGER: Final = 1.25
_CLAUSE: Final = re.compile(r"[.!?;:,\n()–—…。！？]+|\s-+\s")


@dataclass(frozen=True, slots=True)
class _Lexicon:
    """Phrases by their words, with what they say of an answer; one of 0 only looks as if it said something."""

    values: Mapping[tuple[str, ...], float]
    negations: frozenset[str]
    stronger: frozenset[str]
    but: frozenset[str]
    longest: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "longest", max(map(len, self.values)))


def _lexicon(by_value: Mapping[float, str], negations: str, stronger: str, but: str) -> _Lexicon:
    values = {tuple(phrase.split()): value for value, said in by_value.items() for phrase in said.split(",")}
    return _Lexicon(values, frozenset(negations.split()), frozenset(stronger.split()), frozenset(but.split()))


_LEXICONS: Final[Mapping[str, _Lexicon]] = {
    "english": _lexicon(
        {
            1.0: "perfect,perfectly,excellent,exactly it,exactly right,exactly what i needed,exactly what i wanted,"
            "spot on,nailed it,brilliant,you got it,fantastic,amazing",
            0.8: "great,exactly,correct,helpful,helped,awesome,wonderful,well done,that is it,very good,love it,right",
            0.6: "good,useful,thanks,thank you,nice,yes,yep,yeah,works,worked,accurate,relevant,precisely,glad,agreed",
            0.3: "ok,okay,fine,no problem,no worries,all right,alright,not bad",
            0.0: "right now,right away,right before,right after,right side,right hand,on the right,to the right,"
            "your right,a right,no idea,no doubt,no matter,no one,no longer,yes or no,good morning,good evening,"
            "good night,good afternoon,works at,works for,worked at,worked for,works in,worked in,works with,"
            "worked with,no thanks to,correct me,correct this,correct that,correct it,wrong with,right or wrong,"
            "false alarm,by mistake,bad luck,thanks to",
            -0.6: "no,nope,nah,not really,not quite,not it,not that,not what i meant,not what i asked,confusing,"
            "unclear,outdated,missed the point,off topic,old news,try again,did not help,didnt help,"
            "doesnt help,does not help,no help",
            -0.8: "bad,unhelpful,irrelevant,false,mistaken,mistake,not right,not true,inaccurate,made up,no good,"
            "no use,not helpful,disappointing",
            -1.0: "wrong,incorrect,useless,terrible,awful,horrible,nonsense,rubbish,garbage,completely off,worst",
        },
        "not never no neither nor without hardly cannot dont doesnt didnt isnt wasnt arent werent wont cant couldnt "
        "wouldnt shouldnt hasnt havent hadnt aint",
        "very really so absolutely totally completely extremely super entirely utterly",
        "but however though although yet",
    ),
    "german": _lexicon(
        {
            1.0: "perfekt,hervorragend,ausgezeichnet,genau das,ganz genau,genau richtig,volltreffer,fantastisch,"
            "genau das wollte ich,auf den punkt",
            0.8: "super,toll,klasse,prima,richtig,korrekt,hilfreich,genau,stimmt,sehr gut,spitze,geholfen,großartig,"
            "trifft zu",
            0.6: "gut,danke,dankeschön,vielen dank,ja,jawohl,jep,passt,nützlich,brauchbar,treffend,freut mich,"
            "funktioniert,hilft mir,hilft,gerne",
            0.3: "ok,okay,in ordnung,nicht schlecht,kein problem,keine sorge,schon gut",
            0.0: "guten morgen,guten tag,guten abend,gute nacht,keine ahnung,kein zweifel,ja oder nein,"
            "richtig oder falsch,keine frage,gut möglich",
            -0.6: "nein,nee,nö,nicht ganz,nicht wirklich,veraltet,unklar,verwirrend,danebengegriffen,daneben,"
            "passt nicht,hilft nicht,hilft mir nicht,funktioniert nicht,nicht das,noch einmal,am thema vorbei",
            -0.8: "schlecht,unbrauchbar,irrelevant,stimmt nicht,trifft nicht zu,nicht richtig,fehler,irrtum,erfunden,"
            "nicht hilfreich,enttäuschend,ungenau,stimmt so nicht,stimmt gar nicht,stimmt überhaupt nicht",
            -1.0: "falsch,völlig falsch,nutzlos,unsinn,quatsch,blödsinn,furchtbar,schrecklich,katastrophe,unfug",
        },
        "nicht kein keine keinen keinem keiner nie niemals kaum ohne weder nix nichts",
        "sehr wirklich absolut total völlig ganz echt überaus extrem",
        "aber jedoch allerdings doch sondern",
    ),
}

FEEDBACK_LANGUAGES: Final = tuple(_LEXICONS)
"""The languages whose words of praise and blame are known."""


def feedback_value(text: str, language: str | None = None) -> float | None:
    """What a text says of an answer, from -1 (wrong) to 1 (exactly it); None where it says nothing of it.

    `language` is a name or a two-letter code; without one, the text's function words tell, English in doubt.

    Raises:
        ConfigurationError: the words of this language are not known; the message lists those that are.

    >>> [feedback_value(said) for said in ("that was exactly it", "I know", "not bad", "No, that is wrong.")]
    [1.0, None, 0.3, -0.8]
    >>> feedback_value("Das stimmt nicht.")
    -0.8
    """
    lexicon = _LEXICONS[_known(language) if language is not None else _guessed(text)]
    name = next(known for known, words in _LEXICONS.items() if words is lexicon)
    said: list[tuple[float, float]] = []
    weight = 1.0
    for clause in _CLAUSE.split(text):
        part: list[str] = []
        for word in tokens(clause, name):
            if word in lexicon.but:
                said += [(value, weight) for value in _values(part, lexicon)]
                said = [(value, _BEFORE_BUT) for value, _ in said]
                part, weight = [], _AFTER_BUT
            else:
                part.append(word)
        said += [(value, weight) for value in _values(part, lexicon)]
    if not said:
        return None
    mean = sum(value * weight for value, weight in said) / sum(weight for _, weight in said)
    return round(max(-1.0, min(mean, 1.0)), 6)


def _values(words: Sequence[str], lexicon: _Lexicon) -> list[float]:
    """What the phrases of a clause say, the longest first where several begin at a word."""
    values = []
    place = 0
    last_phrase = 0
    while place < len(words):
        length = next(
            (
                length
                for length in range(lexicon.longest, 0, -1)
                if tuple(words[place : place + length]) in lexicon.values
            ),
            0,
        )
        if not length:
            place += 1
            continue
        value = lexicon.values[tuple(words[place : place + length])]
        # What negates a word is behind the phrase before it.
        before = words[max(last_phrase, place - _REACH) : place]
        if value:
            if before and before[-1] in lexicon.stronger:
                value *= _STRONGER
            if sum(word in lexicon.negations for word in before) % 2:
                value *= _NEGATED
            values.append(value)
        place += length
        last_phrase = place
    return values


def _known(language: str) -> str:
    name = language_name(language)
    if name not in _LEXICONS:
        raise ConfigurationError(
            f"language is {language!r}, whose words of praise and blame are not known here; use one of "
            f"{', '.join(FEEDBACK_LANGUAGES)}, or give a function that reads the text"
        )
    return name


def _guessed(text: str) -> str:
    """The language of which most words are; the first where none is ahead."""
    counts = {}
    for name, lexicon in _LEXICONS.items():
        own = stop_words(name) | {word for phrase in lexicon.values for word in phrase} | lexicon.negations
        counts[name] = sum(word in own for word in tokens(text, name))
    return max(counts, key=lambda name: counts[name])
