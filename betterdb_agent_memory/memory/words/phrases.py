"""How people name dates: where in a question one is said. What it means is known to the parser (`dates`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Phrases:
    """The vocabulary of dates in one language: alternatives of a pattern, in lower case.

    `months` mean nothing else. `shy_months` are also ordinary words or first names: they need a year, one of
    `month_lead` before them, or a capital and a number; `short_months` are dates with a number, and nothing without.
    `of` may stand between the parts of a date. `last` stands before (or after: `last_follows`) what it means the
    latest of, `this` before it. `fixed` are phrases as the parser reads them, whose article may be left out. `ago`
    and `within` name a distance into the past and the time from there to now; `ago_said` is how the parser wants the
    former. `numbers` are the words for 1, 2, 3 ...; `amounts` other words for one. `last_year` and `this_year` say
    which May is meant. `to` stands between the ends of a span, with or without `from_` before them; `both` does behind
    `between`. `since`, `after` and `before` stand before the one end that a span has. `fortnight` is two weeks.
    """

    months: str
    month_lead: str
    last: str
    this: str
    weekdays: str
    weekday_lead: str
    weekend: str
    seasons: tuple[str, str, str, str]
    fixed: tuple[str, ...]
    articles: str
    ago: str
    ago_said: str
    within: str
    units: str
    numbers: str
    amounts: Mapping[str, int]
    year_lead: str
    last_year: str
    this_year: str
    between: str
    both: str
    from_: str
    to: str
    since: str
    after: str
    before: str
    fortnight: str = "(?!)"
    of: str = ""
    shy_months: str = ""
    short_months: str = ""
    day_suffix: str = ""
    last_follows: bool = False

    @property
    def all_amounts(self) -> Mapping[str, int]:
        """What each word for an amount is in figures, the longer words first."""
        numbers = {word: place for place, word in enumerate(self.numbers.split("|"), 1)}
        return {**self.amounts, **dict(sorted(numbers.items(), key=lambda item: -len(item[0])))}


_ENGLISH_AMOUNTS = {
    "a couple of": 2,
    "a couple": 2,
    "couple of": 2,
    "a few": 3,
    "few": 3,
    "several": 3,
    "a dozen": 12,
    "thirty": 30,
    "forty": 40,
    "fifty": 50,
    "sixty": 60,
    "ninety": 90,
    "a hundred": 100,
    "an": 1,
    "a": 1,
}

ENGLISH = Phrases(
    months="january|february|july|september|october|november|december",
    shy_months="march|april|may|june|august",
    short_months="april|june|august|jan|feb|mar|apr|jun|jul|aug|sept|sep|oct|nov|dec",
    month_lead="in|during|by|since|until|till|early|late|mid|around|through|(?:end|beginning|start|middle|rest) of",
    of="of|in",
    day_suffix="st|nd|rd|th",
    last="last|this past|past|previous",
    this="this",
    weekdays="monday|tuesday|wednesday|thursday|friday|saturday|sunday",
    weekday_lead="on",
    weekend="weekend",
    seasons=("spring", "summer", "autumn|fall", "winter"),
    fixed=(
        *("the day before yesterday", "yesterday", "today", "tonight", "this morning", "this afternoon"),
        *("this evening", "last night", "last week", "last month", "last year", "this week", "this month", "this year"),
    ),
    articles="the ",
    ago=r"{amount}\s+{unit}\s+(?:ago|back|earlier)",
    ago_said="{amount} {unit} ago",
    within=r"(?:last|past|previous)\s+{amount}\s+{unit}",
    units="days?|weeks?|weekends?|months?|years?",
    numbers=(
        "one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|"
        "eighteen|nineteen|twenty"
    ),
    amounts=_ENGLISH_AMOUNTS,
    year_lead="in|during|of|from|throughout|early|late|mid|year",
    last_year="last year|the previous year|the past year",
    this_year="this year",
    between="between",
    both="and",
    from_="from",
    to="to|until|till|through|thru|up to",
    since="since|starting",
    after="after",
    before="before|until|till|by|prior to|up to",
    fortnight="(?:(?:a|one)\\s+)?fortnight",
)

GERMAN = Phrases(
    months="januar|jänner|februar|märz|april|mai|juni|juli|august|september|oktober|november|dezember",
    short_months="jan|feb|mrz|apr|jun|jul|aug|sept|sep|okt|nov|dez",
    month_lead="im",
    day_suffix=r"\.",
    last="letzten|letztes|letzter|letzte|vorigen|voriges|vergangenen|vergangenes",
    this="diesen|diesem|dieses",
    weekdays="montag|dienstag|mittwoch|donnerstag|freitag|samstag|sonnabend|sonntag",
    weekday_lead="am",
    weekend="wochenende",
    seasons=("frühling|frühjahr", "sommer", "herbst", "winter"),
    fixed=(
        *("vorgestern", "gestern", "heute", "letzte woche", "letzten monat", "letztes jahr"),
        *("diese woche", "diesen monat", "dieses jahr"),
    ),
    articles="der |den |dem |das ",
    ago=r"vor\s+{amount}\s+{unit}",
    ago_said="vor {amount} {unit}",
    within=r"(?:letzten|vergangenen)\s+{amount}\s+{unit}",
    units="tagen?|tag|wochen?|monaten?|monat|jahren?|jahr",
    numbers="einem|zwei|drei|vier|fünf|sechs|sieben|acht|neun|zehn|elf|zwölf|dreizehn|vierzehn",
    amounts={"ein paar": 3, "einigen": 3, "einer": 1},
    year_lead="in|im jahr|jahr|anfang|mitte|ende",
    last_year="letztes jahr|letzten jahres|vorigen jahres|vergangenen jahres",
    this_year="dieses jahr|dieses jahres",
    between="zwischen",
    both="und",
    from_="von",
    to="bis zum|bis",
    since="seit|ab",
    after="nach",
    before="vor|bis zum|bis",
)

FRENCH = Phrases(
    months="janvier|février|avril|mai|juin|juillet|août|septembre|octobre|novembre|décembre",
    shy_months="mars",
    short_months="mars|janv|févr|sept|oct|nov|déc",
    month_lead="en|mois de|début|fin|mi",
    day_suffix="er",
    last="dernier|dernière|passé|passée",
    last_follows=True,
    this="ce|cet|cette",
    weekdays="lundi|mardi|mercredi|jeudi|vendredi|samedi|dimanche",
    weekday_lead="ce",
    weekend="week-end|weekend",
    seasons=("printemps", "été", "automne", "hiver"),
    fixed=(
        *("avant-hier", "hier", "aujourd'hui", "la semaine dernière", "le mois dernier", "l'année dernière"),
        *("cette semaine", "ce mois-ci", "cette année"),
    ),
    articles="la |le |l'|du ",
    ago=r"il\s+y\s+a\s+{amount}\s+{unit}",
    ago_said="il y a {amount} {unit}",
    within=r"{amount}\s+(?:derniers|dernières)\s+{unit}",
    units="jours?|semaines?|mois|ans?|années?",
    numbers="un|deux|trois|quatre|cinq|six|sept|huit|neuf|dix|onze|douze|treize|quatorze|quinze",
    amounts={"quelques": 3, "une": 1},
    year_lead="en|année|début|fin",
    last_year=r"(?:de\s+)?l'(?:année dernière|an dernier|an passé)",
    this_year="cette année",
    between="entre",
    both="et",
    from_="de|du",
    to="au|à|jusqu'au|jusqu'à|jusqu'en",
    since="depuis|à partir de",
    after="après",
    before="avant|jusqu'au|jusqu'à|jusqu'en",
)

SPANISH = Phrases(
    months="enero|febrero|marzo|abril|mayo|junio|julio|agosto|septiembre|setiembre|octubre|noviembre|diciembre",
    month_lead="en",
    of="del|de",
    day_suffix="º",
    last="pasado|pasada",
    last_follows=True,
    this="este|esta",
    weekdays="lunes|martes|miércoles|jueves|viernes|sábado|domingo",
    weekday_lead="el",
    weekend="fin de semana",
    seasons=("primavera", "verano", "otoño", "invierno"),
    fixed=(
        *("anteayer", "ayer", "hoy", "la semana pasada", "el mes pasado", "el año pasado"),
        *("esta semana", "este mes", "este año"),
    ),
    articles="la |el ",
    ago=r"hace\s+{amount}\s+{unit}",
    ago_said="hace {amount} {unit}",
    within=r"(?:últimos|últimas)\s+{amount}\s+{unit}",
    units="días?|semanas?|mes(?:es)?|años?",
    numbers="un|dos|tres|cuatro|cinco|seis|siete|ocho|nueve|diez",
    amounts={"unos": 3, "unas": 3, "una": 1},
    year_lead="en|año",
    last_year="año pasado",
    this_year="este año",
    between="entre",
    both="y",
    from_="de|del",
    to="al|a|hasta",
    since="desde|a partir de",
    after="después de|después del",
    before="antes de|antes del|hasta",
)

PHRASES: Mapping[str, Phrases] = {"english": ENGLISH, "german": GERMAN, "french": FRENCH, "spanish": SPANISH}
