"""What of a text is compared: stems, in every language, the same for what is stored and what is asked."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from betterdb_agent_memory.engines.base import Word
from betterdb_agent_memory.engines.valkey.words import STOP_WORDS
from betterdb_agent_memory.errors import ConfigurationError
from betterdb_agent_memory.memory.words import analysis
from betterdb_agent_memory.memory.words.analysis import LONGEST_WORD, QUERY_WORDS, Analyzer
from betterdb_agent_memory.memory.words.languages import LANGUAGES
from betterdb_agent_memory.memory.words.stop_words import UNINDEXED, stop_words
from betterdb_agent_memory.memory.words.tokens import folded

texts = st.text(st.characters(codec="utf-8"), max_size=80)


@pytest.mark.parametrize(
    ("language", "text", "other_form"),
    [
        ("english", "adopted agencies", "adopting an agency"),
        ("english", "Caroline's painting", "caroline paintings"),
        ("english", "Caroline’s painting", "caroline paintings"),
        ("german", "Die schönen Häuser", "schönes Haus"),
        ("german", "STRASSEN", "straße"),
        ("french", "les chevaux de l'amie", "cheval d'une amie"),
        ("spanish", "corriendo por las montañas", "correr en la montaña"),
        ("russian", "новые книги", "новой книгой"),
        ("turkish", "İSTANBUL", "istanbul"),
        ("hindi", "किताबों", "किताब"),
        ("none", "ＡＢＣ cafe\u0301", "abc café"),
        ("english", "Zürich cafés résumé", "zurich cafe resumes"),
        ("english", "straße", "STRASSE"),
        ("none", "Straße ΆΛΦΑ ёлка", "STRASSE αλφα ЕЛКА"),
        ("french", "la forêt", "FORET"),
        ("german", "Größe", "GRÖSSE"),
        ("english", "zan\u00adzibar’s", "zanzibarʼs"),
        ("english", "½ ﬁre Ǆ", "1/2 fire dž"),
    ],
)
def test_forms_of_a_word_have_one_stem(language, text, other_form):
    stems = Analyzer(language).stems(text)
    assert stems
    assert stems == Analyzer(language).stems(other_form)


def test_stop_words_go_unless_they_are_asked_for():
    assert Analyzer().stems("What did she say to the cats?") == ["say", "cat"]
    assert Analyzer().stems("What did she say?", stop_words=True) == ["what", "did", "she", "say"]
    assert Analyzer("german").stems("Was hat sie über die Katze gesagt?") == ["katz", "gesagt"]


@pytest.mark.parametrize("text", ["don't", "I'm", "they'll", "isn’t", "we've", "it's"])
def test_contractions_of_stop_words_are_stop_words(text):
    assert Analyzer().stems(text) == []


def test_no_word_that_a_server_leaves_out_of_its_index_is_searched_for():
    assert stop_words("english").issuperset(STOP_WORDS)
    assert {"what", "when", "who", "did", "where", "how"} <= stop_words("english")


def test_a_question_is_its_words_as_written_with_their_stems():
    assert Analyzer().query("When did Caroline's friends adopt? Adopting friends!") == (
        Word("caroline", "carolin"),
        Word("friends", "friend"),
        Word("adopt", "adopt"),
    )


def test_a_question_of_stop_words_keeps_its_words():
    assert Analyzer().query("Who is it?") == (Word("who", "who"), Word("is", "is_"), Word("it", "it_"))
    assert Analyzer().query("Don't!") == (Word("don", "don"), Word("t", "t"))
    assert Analyzer().query("?!") == ()


def test_a_long_question_has_a_bounded_number_of_words():
    assert len(Analyzer().query(" ".join(f"w{number}" for number in range(10_000)))) == QUERY_WORDS


@pytest.mark.parametrize("text", ["東京タワー", "我爱北京", "서울에서", "ภาษาไทย"])
@pytest.mark.parametrize("language", ["english", "german", "none"])
def test_text_without_blanks_is_found_by_any_two_characters_of_it(language, text):
    analyzer = Analyzer(language)
    stored = str(analyzer.stored(f"before {text} after")).split()
    for start in range(len(text) - 1):
        (word,) = analyzer.query(text[start : start + 2])
        assert word.stem in stored
    assert analyzer.query(text[0] + " x")[0].stem == text[0]


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("English words, don't you see? 5,000 of them.\n\n- **a** <list> {x}|[y] \"z\" `q`\t~@#$%^&*()=+'", None),
        ("a\r\n" + "x" * 64 + ".\nb", "a_ " + "x" * 64 + " b"),
        ("one line\nanother line", "one line anoth"),
        ("Houses—here…", "hous here"),
        ("path\\file", "path file"),
        ("a bell\x07rings", "a_ bell ring"),
        ("x" * 65, "x" * 64),
        ("I love 北京, and 北京 loves", "i love 北京 and_"),
        ("naïve café", "naiv cafe"),
    ],
)
def test_only_text_that_a_search_engine_may_read_otherwise_is_stored_as_stems(text, stored):
    assert Analyzer().stored(text) == stored


@given(start=st.text("ab '_\\\n\r\té-~1", max_size=20), long=st.integers(0, 80), end=st.text("a b-'\n", max_size=70))
def test_a_quick_look_takes_no_text_for_plainer_than_it_is(start, long, end):
    text = start + "x" * long + end
    assert (Analyzer().stored(text) is None) == (analysis._NO_PLAIN_WORDS.search(text) is None)


def test_other_languages_are_stored_with_their_stop_words():
    assert Analyzer("german").stored("Die Häuser, was die Häuser!") == "die haus was_"
    assert Analyzer("dutch").query("Wie at taart?") == (Word("at", "at_"), Word("taart", "taart"))
    assert Analyzer("dutch").stems("at taart") == ["at_", "taart"]


def test_marks_that_are_no_accents_stay():
    assert Analyzer("none").stems("हिन्दी ที่นี่ がく") == Analyzer("none").stems("हिन्दी ที่นี่ がく".upper())
    assert Analyzer("none").stems("हिन्दी")[0] == "हिन्दी"
    assert Analyzer("none").stems("がく") != Analyzer("none").stems("かく")


@given(text=texts, language=st.sampled_from(["english", "french", "turkish", "none"]))
def test_a_stem_has_no_accents_nor_capitals(text, language):
    for stem in Analyzer(language).stems(text):
        assert folded(stem) == stem


def test_what_servers_leave_out_is_known_on_both_floors():
    assert UNINDEXED == STOP_WORDS


@given(text=texts, language=st.sampled_from(["english", "french", "turkish", "none"]))
def test_a_text_has_every_word_of_the_question_that_quotes_it(text, language):
    analyzer = Analyzer(language)
    words = analyzer.query(text)
    stems = analyzer.stems(text) or analyzer.stems(text, stop_words=True)
    assert [word.stem for word in words] == list(dict.fromkeys(stems))[:QUERY_WORDS]
    assert all(word.text and not set(word.text) & set(" '\t\n-@{}|()\"*%") for word in words)


@given(text=texts)
def test_what_is_stored_is_the_stems_with_blanks_between_them(text):
    stems = Analyzer("german").stems(text, stop_words=True)
    assert str(Analyzer("german").stored(text)).split() == list(dict.fromkeys(stems))


def test_a_long_word_counts_by_its_beginning_on_both_sides():
    key = "k3y" * 100_000
    (word,) = Analyzer("none").query(key)
    assert word == Word(key[:LONGEST_WORD], key[:LONGEST_WORD])
    assert Analyzer("none").stems(key + "!") == [word.stem]


def test_remembered_words_are_bounded_and_stay_right(monkeypatch):
    monkeypatch.setattr(analysis, "CACHED_WORDS", 100)
    analyzer = Analyzer("dutch")
    many = [f"woord{number}" for number in range(1000)]
    assert analyzer.stems(" ".join(many)) == many
    assert len(analyzer._stems) <= 100
    assert analyzer.stems("woord1 katten") == ["woord1", "kat"]


def test_threads_may_share_an_analyzer():
    analyzer = Analyzer("swedish")
    text = " ".join(f"bok{number}en" for number in range(3000))
    with ThreadPoolExecutor(4) as pool:
        first, *others = pool.map(analyzer.stems, [text] * 4)
    assert all(other == first for other in others)


@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_every_language_that_is_offered_works(language):
    assert Analyzer(language).stems("Beyoncé 2023")[-1] == "2023"


def test_a_language_may_be_named_by_its_code():
    assert Analyzer("DE").language == "german"


@pytest.mark.parametrize("language", ["klingon", "", "xx", "porter"])
def test_an_unknown_language_is_refused_with_the_known_ones(language):
    with pytest.raises(ConfigurationError, match=f"{language!r}.*english.*none"):
        Analyzer(language)
