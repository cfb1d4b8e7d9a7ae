"""What the simulated people talk about, and how they say it.

Three classes of entities, each with ten attributes. Every attribute can be told in three ways and asked for in
four: two questions name the entity, two do not and are answered by every entity of the class. Some wordings
share no noun with each other, as in life. `{e}` is the entity, `{v}` the value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Attribute:
    """What an entity has one value of at a time; `kind` is the kind of memory that tells it."""

    name: str
    kind: str
    values: tuple[str, ...]
    told: tuple[str, ...]
    asked: tuple[str, ...]
    asked_of_anybody: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EntityClass:
    """Entities with the same attributes; `asked` are questions for whatever is known of one."""

    name: str
    entities: tuple[str, ...]
    asked: tuple[str, ...]
    attributes: tuple[Attribute, ...]


def _parts(text: str) -> tuple[str, ...]:
    return tuple(text.split("|"))


def _attribute(name: str, kind: str, values: str, told: Sequence[str], asked: Sequence[str]) -> Attribute:
    """`values` separated by bars; of the four questions the first two name the entity."""
    return Attribute(name, kind, _parts(values), tuple(told), tuple(asked[:2]), tuple(asked[2:]))


PROJECTS = EntityClass(
    "project",
    _parts(
        "Atlas|Falcon|Harbor|Juniper|Kestrel|Lantern|Meridian|Nimbus|Orchard|Pioneer|"
        "Quartz|Raven|Sequoia|Tundra|Umbra|Vortex|Willow|Xenon|Yarrow|Zephyr"
    ),
    (
        "What should I know about {e} before I touch it?",
        "Tell me how things are with {e}.",
        "I am about to work on {e}, what matters there?",
    ),
    (
        _attribute(
            "database",
            "factual",
            "PostgreSQL|MySQL|Valkey|SQLite|MongoDB|Cassandra|DuckDB|MariaDB",
            ("{e} keeps its data in {v}.", "The database behind {e} is {v}.", "Everything {e} stores ends up in {v}."),
            (
                "Which database does {e} use?",
                "Where does {e} store its data?",
                "Which database was it again?",
                "Where is the data stored?",
            ),
        ),
        _attribute(
            "deployment day",
            "procedural",
            "Monday mornings|Tuesday afternoons|Wednesday nights|Thursdays at noon|Friday mornings|Sunday evenings",
            ("{e} is deployed on {v}.", "We roll {e} out on {v}.", "Releases of {e} go live on {v}."),
            (
                "When is {e} deployed?",
                "On which day does {e} go live?",
                "When do we deploy?",
                "Which day is for the release?",
            ),
        ),
        _attribute(
            "owner",
            "relational",
            "Priya|Tomasz|Ingrid|Mateo|Aisha|Bjorn|Chidi|Lena|Rahul|Sofia",
            ("{v} owns {e}.", "{e} is looked after by {v}.", "For anything about {e} one talks to {v}."),
            (
                "Who owns {e}?",
                "Who is responsible for {e}?",
                "Who was the owner of the project?",
                "Who looks after it?",
            ),
        ),
        _attribute(
            "language",
            "factual",
            "Python|Go|Rust|Kotlin|TypeScript|Elixir|Scala|C#",
            ("{e} is written in {v}.", "The code of {e} is {v}.", "They programmed {e} in {v}."),
            (
                "What language is {e} written in?",
                "In which language is the code of {e}?",
                "Which programming language is it?",
                "What is the code written in?",
            ),
        ),
        _attribute(
            "region",
            "factual",
            "Frankfurt|Dublin|Oregon|Singapore|Mumbai|Sydney|Montreal|Stockholm",
            ("{e} runs in the {v} data centre.", "The servers of {e} are in {v}.", "{e} is hosted in {v}."),
            (
                "Where is {e} hosted?",
                "Which data centre does {e} run in?",
                "Which data centre is it in?",
                "Where are the servers?",
            ),
        ),
        _attribute(
            "alarm channel",
            "procedural",
            "the red pager|the ops channel|the night desk|a phone tree|the duty mailbox|the bridge call",
            (
                "Alarms of {e} go to {v}.",
                "When {e} breaks, {v} is told first.",
                "Outages of {e} are reported to {v}.",
            ),
            (
                "Where do alarms of {e} go?",
                "Whom do we alert when {e} is down?",
                "Where do the alarms go?",
                "Who is told about an outage?",
            ),
        ),
        _attribute(
            "version",
            "factual",
            "2.4|3.0|3.7|4.1|5.2|6.0|7.3|8.8",
            (
                "{e} is at version {v}.",
                "The current release of {e} is {v}.",
                "Production runs {v} of {e}.",
            ),
            (
                "Which version of {e} is current?",
                "What release of {e} is in production?",
                "Which version is current?",
                "What release is in production?",
            ),
        ),
        _attribute(
            "rollback",
            "procedural",
            "restoring the snapshot|flipping the feature flag|redeploying the last tag|switching the load balancer|"
            "reverting the migration|promoting the replica",
            (
                "A rollback of {e} means {v}.",
                "If {e} goes wrong, undo it by {v}.",
                "{e} is taken back by {v}.",
            ),
            (
                "How do we roll back {e}?",
                "How is a bad release of {e} undone?",
                "How do I roll back?",
                "How is a bad release undone?",
            ),
        ),
        _attribute(
            "budget",
            "factual",
            "20,000 euros|45,000 euros|60,000 euros|80,000 euros|120,000 euros|150,000 euros|210,000 euros",
            ("{e} has a budget of {v}.", "We may spend {v} on {e}.", "{v} are set aside for {e}."),
            (
                "What is the budget of {e}?",
                "How much may we spend on {e}?",
                "What was the budget?",
                "How much money is there for it?",
            ),
        ),
        _attribute(
            "reputation",
            "opinion",
            "overdue for a rewrite|a joy to maintain|too slow|well tested|badly documented|the best thing we built|"
            "not worth its cost",
            ("The team thinks {e} is {v}.", "Most of us find {e} {v}.", "In the review {e} was called {v}."),
            (
                "What does the team think of {e}?",
                "What is the opinion on {e}?",
                "What did the team think of the project?",
                "How was the project judged in the review?",
            ),
        ),
    ),
)

PEOPLE = EntityClass(
    "colleague",
    _parts(
        "Amelia|Bruno|Carmen|Dmitri|Elena|Farid|Greta|Hassan|Irina|Jonas|"
        "Keiko|Leandro|Miriam|Nadia|Oskar|Paloma|Quentin|Rosa|Stefan|Thandi"
    ),
    (
        "I am meeting {e} today, what should I remember?",
        "What do we know about {e}?",
        "Remind me of things about {e}.",
    ),
    (
        _attribute(
            "drink",
            "opinion",
            "green tea|black coffee|oat milk latte|espresso|hot chocolate|sparkling water|peppermint tea|cold brew",
            ("{e} drinks {v}.", "The favourite drink of {e} is {v}.", "For {e} it has to be {v}."),
            (
                "What does {e} like to drink?",
                "Which drink shall I order for {e}?",
                "Which drink shall I order?",
                "What was the favourite drink?",
            ),
        ),
        _attribute(
            "working hours",
            "factual",
            "from six to two|from eight to four|from ten to six|from noon to eight|only in the mornings|"
            "three days a week",
            ("{e} works {v}.", "The working hours of {e} are {v}.", "One reaches {e} at the desk {v}."),
            (
                "When does {e} work?",
                "What are the working hours of {e}?",
                "What were the working hours?",
                "When can I reach my colleague at the desk?",
            ),
        ),
        _attribute(
            "manager",
            "relational",
            "Mrs Okafor|Mr Lindqvist|Mrs Tanaka|Mr Moreau|Mrs Petrov|Mr Castillo|Mrs Haugen",
            ("{e} reports to {v}.", "The manager of {e} is {v}.", "{v} leads the team of {e}."),
            (
                "Who is the manager of {e}?",
                "Whom does {e} report to?",
                "Who was the manager?",
                "Whose team is it?",
            ),
        ),
        _attribute(
            "desk",
            "factual",
            "room 12|room 27|room 31|room 44|room 58|room 63|the corner office|the glass room",
            ("{e} sits in {v}.", "The desk of {e} is in {v}.", "You find {e} in {v}."),
            (
                "Where does {e} sit?",
                "In which room is the desk of {e}?",
                "Which room was the desk in?",
                "Where do I find the desk?",
            ),
        ),
        _attribute(
            "extension",
            "factual",
            "4117|4230|4355|4402|4518|4671|4783|4896",
            ("The phone extension of {e} is {v}.", "{e} can be called on {v}.", "Dial {v} to talk to {e}."),
            (
                "What is the phone extension of {e}?",
                "Which number do I dial for {e}?",
                "What was the phone extension?",
                "Which number do I dial?",
            ),
        ),
        _attribute(
            "home",
            "relational",
            "Lisbon|Gdansk|Utrecht|Bergen|Valencia|Trieste|Lyon|Graz",
            ("{e} lives in {v}.", "The home of {e} is in {v}.", "{e} commutes from {v}."),
            (
                "Where does {e} live?",
                "From where does {e} commute?",
                "Which city was the home in?",
                "Where was the commute from?",
            ),
        ),
        _attribute(
            "diet",
            "factual",
            "nothing with nuts|only vegan food|no gluten|no fish|halal meat|no dairy|vegetarian dishes",
            ("{e} eats {v}.", "At lunch {e} wants {v}.", "The diet of {e}: {v}."),
            (
                "What does {e} eat?",
                "What do I order for {e} at lunch?",
                "What was the diet?",
                "What do I order for lunch?",
            ),
        ),
        _attribute(
            "review style",
            "procedural",
            "in small commits|with a call first|only after the tests are green|as a written summary|with screenshots|"
            "before ten in the morning",
            (
                "{e} wants reviews {v}.",
                "Changes for {e} are to be sent {v}.",
                "When {e} reviews your code, submit it {v}.",
            ),
            (
                "How does {e} want reviews?",
                "How do I submit changes to {e}?",
                "How are reviews to be sent?",
                "How do I submit my changes for review?",
            ),
        ),
        _attribute(
            "worry",
            "emotional",
            "the reorganisation|the missed deadline|the noise in the office|the new contract|a sick parent|"
            "being passed over",
            ("{e} is upset about {v}.", "What worries {e} is {v}.", "{e} was close to tears because of {v}."),
            (
                "What is {e} upset about?",
                "What worries {e}?",
                "Who or what caused the upset?",
                "What was the worry?",
            ),
        ),
        _attribute(
            "last trip",
            "episodic",
            "the fair in Hanover|the summit in Oslo|the workshop in Porto|the customer in Zurich|the campus in Delft|"
            "the conference in Tallinn",
            ("{e} travelled to {v}.", "The last trip of {e} was to {v}.", "{e} came back from {v}."),
            (
                "Where did {e} travel last?",
                "What was the last trip of {e}?",
                "Where did the last trip go?",
                "Which business trip was it?",
            ),
        ),
    ),
)

CUSTOMERS = EntityClass(
    "customer",
    (
        *("Northwind Bakery", "Alder Clinics", "Bluefin Logistics", "Copperfield Bank", "Dunmore Textiles"),
        *("Evergreen Hotels", "Foxglove Pharmacy", "Granite Insurance", "Hazel Toys", "Ironbridge Steel"),
        *("Juno Airlines", "Kingfisher Foods", "Larkspur Media", "Maple Schools", "Nettle Cosmetics"),
        *("Osprey Energy", "Primrose Dairy", "Redwood Furniture", "Silverline Trams", "Thistle Brewery"),
    ),
    (
        "{e} is on the phone, what do I need to know?",
        "Prepare me for the call with {e}.",
        "What is there to know about {e}?",
    ),
    (
        _attribute(
            "renewal",
            "factual",
            "January|March|April|June|July|September|October|December",
            (
                "The contract of {e} is renewed in {v}.",
                "{e} decides about the renewal in {v}.",
                "In {v} the subscription of {e} runs out.",
            ),
            (
                "When is the contract of {e} renewed?",
                "When does the subscription of {e} run out?",
                "When is the contract renewed?",
                "When does the subscription run out?",
            ),
        ),
        _attribute(
            "contact",
            "relational",
            "Ms Adeyemi|Mr Brandt|Ms Calloway|Mr Dressler|Ms Eriksen|Mr Fontaine|Ms Gupta|Mr Hoshino",
            ("Our contact at {e} is {v}.", "At {e} ask for {v}.", "{v} speaks for {e}."),
            (
                "Who is our contact at {e}?",
                "Whom do I ask for at {e}?",
                "Who was the contact person?",
                "Whom do I ask for at the customer?",
            ),
        ),
        _attribute(
            "discount",
            "factual",
            "5 per cent|8 per cent|12 per cent|15 per cent|20 per cent|25 per cent|no discount",
            ("{e} gets {v} off the list price.", "The discount of {e}: {v}.", "On every order {e} saves {v}."),
            (
                "What discount does {e} get?",
                "How much off the price for {e}?",
                "What was the discount?",
                "How much off the list price was agreed?",
            ),
        ),
        _attribute(
            "service level",
            "factual",
            "one hour|two hours|four hours|eight hours|the next working day|two working days",
            (
                "{e} is promised an answer within {v}.",
                "The response time for {e} is {v}.",
                "Tickets of {e} must be answered in {v}.",
            ),
            (
                "What response time does {e} have?",
                "How fast must tickets of {e} be answered?",
                "What was the response time?",
                "How fast must the ticket be answered?",
            ),
        ),
        _attribute(
            "delivery address",
            "factual",
            "Dock Street 4|Mill Lane 19|Station Road 7|Abbey Square 2|Park Avenue 88|Quarry Hill 31|Canal Walk 12",
            ("Parcels for {e} go to {v}.", "The delivery address of {e} is {v}.", "We ship to {e} at {v}."),
            (
                "What is the delivery address of {e}?",
                "Where do parcels for {e} go?",
                "What was the delivery address?",
                "Where do I ship the parcel?",
            ),
        ),
        _attribute(
            "currency",
            "factual",
            "euros|dollars|pounds|Swiss francs|yen|Swedish kronor|zloty",
            ("{e} is invoiced in {v}.", "Bills for {e} are made out in {v}.", "{e} pays in {v}."),
            (
                "In which currency do we invoice {e}?",
                "What does {e} pay in?",
                "Which currency goes on the invoice?",
                "What currency is the bill in?",
            ),
        ),
        _attribute(
            "escalation",
            "procedural",
            "calling the director|opening a severity one ticket|writing to the legal desk|"
            "waking the account manager|a visit on site|a letter by courier",
            (
                "Escalations of {e} begin with {v}.",
                "When {e} is angry, the procedure is {v}.",
                "An emergency at {e} is handled by {v}.",
            ),
            (
                "How do we escalate for {e}?",
                "What is the procedure in an emergency at {e}?",
                "How do I escalate?",
                "What is the procedure in an emergency?",
            ),
        ),
        _attribute(
            "complaint",
            "emotional",
            "the late shipment|a wrong invoice|the rude support call|lost records|the price increase|"
            "the broken integration",
            ("{e} is furious about {v}.", "{e} complained about {v}.", "The people of {e} are bitter over {v}."),
            (
                "What is {e} furious about?",
                "What did {e} complain about?",
                "What was the complaint about?",
                "Why is the customer furious?",
            ),
        ),
        _attribute(
            "plan",
            "factual",
            "starter|team|business|enterprise|education|non-profit",
            ("{e} is on the {v} plan.", "{e} has booked the {v} tier.", "The subscription of {e} is {v}."),
            (
                "Which plan is {e} on?",
                "What tier has {e} booked?",
                "Which plan was booked?",
                "What tier is the customer on?",
            ),
        ),
        _attribute(
            "taste",
            "opinion",
            "cluttered|elegant|too expensive|better than the rest|hard to learn|reliable|old-fashioned",
            ("{e} finds our product {v}.", "In the survey {e} called us {v}.", "The buyers of {e} say it is {v}."),
            (
                "What does {e} think of our product?",
                "What did {e} say in the survey?",
                "What do they think of our product?",
                "What was said in the survey?",
            ),
        ),
    ),
)

CLASSES = (PROJECTS, PEOPLE, CUSTOMERS)

# Remarks that nobody will ever need: they share names and nouns with what is needed.
REMARKS = (
    "{e} came up at lunch, somebody told a joke.",
    "Somebody asked about the {a} of {e} in {place}, nobody knew.",
    "A slide on {e} was skipped on {weekday}.",
    "The {a} of {e} was mentioned in passing in {place}.",
    "On {weekday} we talked about {e} for {minutes} minutes without a result.",
    "Looked for the {a} of {e}, then the meeting in {place} began.",
    "There was a typo in the note about the {a} of {e}.",
    "{e} and {other} were mixed up in {place} again.",
    "The meeting on {e} was moved to {weekday} at {hour}.",
    "A newsletter quoted something on {e} and {other}.",
    "{other} was compared with {e} over coffee on {weekday}.",
    "The screen froze while we had the {a} of {e} open.",
    "Printed the page on {e} in {place}, {minutes} copies.",
    "Someone said hello and asked how {e} is doing on {weekday}.",
)
PLACES = _parts("the stand-up|the kitchen|the lift|the corridor|the car park|the big room|the train")
WEEKDAYS = _parts("Monday|Tuesday|Wednesday|Thursday|Friday")

CORRECTIONS: Mapping[str, tuple[str, ...]] = {
    "correct": ("Correction: {text}", "I was wrong, {text}", "Not any more: {text}"),
    "contradict": ("As of now {text}", "It has changed: {text}", "{text} That is different from before."),
    "state": ("{text}",),
}
"""What is said in front of a fact that replaces another, by how openly it does so."""
