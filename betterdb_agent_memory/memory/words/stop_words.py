"""Words that nearly every text has, so that they tell no text from another.

Only words that carry a sentence (articles, pronouns, prepositions, conjunctions, auxiliaries, question words): the
lists that packages offer are made for the web and have words such as "research", "year" and "home", by which a memory
is found. A language without a list loses nothing but a little speed: BM25 hardly counts a word that all texts have.
"""

from __future__ import annotations

from functools import cache

_WORDS = {
    # Holds what servers do not index.
    "english": """
a an the this that these those such same other others another each every either neither both all any some few many
much more most less least own no nor not none only just even also too very so than then there here now again ever
i me my mine myself you your yours yourself yourselves he him his himself she her hers herself it its itself
we us our ours ourselves they them their theirs themselves one ones
what which who whom whose when where why how whether
and or but if because as while although though unless until since
of to in into on onto at by for with without within about against between among through during before after above
below from up down out off over under upon via per
am is are was were be been being do does did done doing have has had having
will would shall should can could may might must ought
aint arent cant couldnt didnt doesnt dont hadnt hasnt havent isnt mightnt mustnt neednt shant shouldnt wasnt werent
wont wouldnt
""",
    "german": """
der die das den dem des ein eine einen einem einer eines kein keine keinen keinem keiner keines
ich du er sie es wir ihr mich dich sich uns euch ihn ihm ihnen mir dir man
mein meine meinen meinem meiner meines dein deine deinen deinem deiner deines sein seine seinen seinem seiner seines
ihre ihren ihrem ihrer ihres unser unsere unseren unserem unserer unseres euer eure euren eurem eurer
dieser diese dieses diesen diesem jener jene jenes jenen jenem jeder jede jedes jeden jedem alle allen aller alles
welcher welche welches welchen welchem solche solcher solches was wer wen wem wessen wann wo wohin woher warum wieso
weshalb wie womit wozu
und oder aber denn sondern doch als wenn weil dass daß ob obwohl während damit bevor nachdem
in im an am auf aus bei beim bis durch für gegen hinter mit nach neben ohne seit über um unter von vom vor zu zum zur
zwischen wegen trotz
bin bist ist sind seid war warst waren wart gewesen sei wäre wären habe hast hat haben habt hatte hatten hättest hätte
hätten werde wirst wird werden werdet wurde wurden worden würde würden kann kannst können könnt konnte konnten könnte
muss musst müssen musste mussten soll sollst sollen sollte sollten will willst wollen wollte wollten darf dürfen
nicht nichts auch nur noch schon so sehr da dann hier dort nun mal ja nein etwas selbst sonst
""",
    "french": """
le la les l un une des du de d au aux ce cet cette ces c ça cela ceci
je j tu il elle on nous vous ils elles me m te t se s lui leur leurs y en moi toi soi eux
mon ma mes ton ta tes son sa ses notre nos votre vos
qui que qu quoi dont où quand comment pourquoi combien quel quelle quels quelles lequel laquelle est-ce
et ou mais donc or ni car si comme lorsque puisque quoique
à dans par pour sur sous avec sans chez vers entre pendant avant après depuis contre
suis es est sommes êtes sont étais était étions étiez étaient été être fut sera serait seront ai as a avons avez ont
avais avait avaient eu avoir aura aurait fait faire peut peuvent doit doivent
ne n pas plus non oui aussi très même tout toute tous toutes autre autres ici là alors encore
""",
    "spanish": """
el la los las lo un una unos unas al del de este esta esto estos estas ese esa eso esos esas aquel aquella aquello
aquellos aquellas
yo tú tu él ella ello nosotros nosotras vosotros ustedes usted ellos ellas me te se le les nos os mí ti sí
mi mis tus su sus nuestro nuestra nuestros nuestras vuestro vuestra
qué que quién quien quiénes quienes cuál cual cuáles cuales cuándo cuando dónde donde cómo como por porque cuánto
cuánta cuántos cuántas
y e o u pero sino si aunque mientras pues ni
a ante bajo con contra desde durante en entre hacia hasta para según sin sobre tras
soy eres es somos sois son era eras éramos eran fui fue fuimos fueron sido ser será sería estoy está estás estamos
están estaba estaban estado estar he has ha hemos han había habían haber hay tengo tiene tienen tenía puede pueden
no más muy también ya tan todo toda todos todas otro otra otros otras aquí allí así algo
""",
    "italian": """
il lo la i gli le l un uno una di a da in con su per tra fra del dello della dei degli delle al allo alla ai agli alle
dal dallo dalla dai dagli dalle nel nello nella nei negli nelle sul sullo sulla sui sugli sulle
io tu lui lei noi voi loro mi ti si ci vi ne me te sé
mio mia miei mie tuo tua tuoi tue suo sua suoi sue nostro nostra nostri nostre vostro vostra vostri vostre
questo questa questi queste quello quella quelli quelle
che chi cui cosa quale quali quando dove come perché quanto quanta quanti quante
e ed o ma se anche però mentre né non più molto già ancora tutto tutta tutti tutte altro altra altri altre qui là
sono sei è siamo siete era ero eri eravamo erano stato stata stati state essere sarà sarebbe ho hai ha abbiamo avete
hanno avevo aveva avevano avuto avere fa fatto fare può possono deve devono
dell all dall nell sull quest c
""",
    "portuguese": """
o a os as um uma uns umas de do da dos das em no na nos nas ao à aos às por pelo pela pelos pelas para com sem sob
sobre entre até desde contra
eu tu ele ela nós vós eles elas você vocês me te se lhe lhes mim ti si
meu minha meus minhas teu tua teus tuas seu sua seus suas nosso nossa nossos nossas
este esta isto estes estas esse essa isso esses essas aquele aquela aquilo aqueles aquelas
que quem qual quais quando onde como porque porquê quanto quanta quantos quantas
e ou mas se embora enquanto nem não mais muito também já ainda tudo todo toda todos todas outro outra outros outras
sou és é somos são era eram fui foi foram sido ser será seria estou está estamos estão estava estavam estar tenho tem
têm tinha tinham ter há havia haver pode podem deve devem aqui ali
""",
    "dutch": """
de het een der den des dit dat deze die
ik jij je u hij zij ze het wij we jullie mij me jou hem haar ons hun hen zich mijn jouw zijn uw onze
wat wie welk welke wanneer waar waarom hoe waarmee waarheen
en of maar want dus als omdat dat terwijl hoewel toen dan
in op aan van voor met bij naar uit over om door onder tussen tegen zonder tot na te ter ten sinds
ben bent is was waren geweest wordt worden werd werden heb hebt heeft hebben had hadden gehad kan kunnen kon konden
moet moeten moest zal zullen zou zouden mag mogen wil willen doet doen deed
niet geen niets ook nog al wel er hier daar nu zo zeer heel alle alles andere iets
""",
    "swedish": """
en ett den det de denna detta dessa
jag du han hon vi ni de mig dig honom henne oss er dem sig min mitt mina din ditt dina sin sitt sina hans hennes vår
vårt våra ert era deras
vad vem vilken vilket vilka när var varför hur vart
och eller men om att som då medan eftersom än
i på av till från med för vid om under över efter före genom mellan mot utan hos ur åt
är var vara varit blir blev bli har hade haft ha kan kunde ska skall skulle vill ville måste får fick gör gjorde göra
inte ej också bara så mycket här där nu alla allt andra någon något några ingen inget
""",
    "danish": """
en et den det de denne dette disse
jeg du han hun vi i mig dig ham hende os jer dem sig min mit mine din dit dine sin sit sine hans hendes vores jeres
deres hvad hvem hvilken hvilket hvilke hvornår hvor hvorfor hvordan
og eller men om at som da mens fordi end
på af til fra med for ved under over efter før gennem mellem mod uden hos ad
er var være været bliver blev blive har havde haft have kan kunne skal skulle vil ville må måtte gør gjorde gøre
ikke også kun så meget her der nu alle alt andre nogen noget nogle ingen intet
""",
    "norwegian": """
en ei et den det de denne dette disse
jeg du han hun vi dere meg deg ham henne oss dem seg min mi mitt mine din di ditt dine sin si sitt sine hans hennes vår
vårt våre deres
hva hvem hvilken hvilket hvilke når hvor hvorfor hvordan
og eller men om at som da mens fordi enn
i på av til fra med for ved under over etter før gjennom mellom mot uten hos
er var være vært blir ble bli har hadde hatt ha kan kunne skal skulle vil ville må måtte får fikk gjør gjorde gjøre
ikke også bare så mye her der nå alle alt andre noen noe ingen intet
""",
    "russian": """
я ты он она оно мы вы они меня тебя его её ее нас вас их мне тебе ему ей нам вам им мной тобой ею ними себя себе
мой моя моё мое мои твой твоя твоё твое твои наш наша наше наши ваш ваша ваше ваши свой своя своё свое свои
этот эта это эти этого этой этих тот та то те того той тех такой такая такое такие весь вся всё все всех
кто что кого чего кому чему кем чем какой какая какое какие который которая которое которые когда где куда откуда
почему зачем как сколько
и а но или да если чтобы хотя потому пока ни же ли бы
в во на с со к ко по о об от до из у за под над при для без между через перед про
быть был была было были есть будет будут не нет уже ещё еще тоже также очень там тут здесь так вот только
""",
}

_UNINDEXED = """
a an and are as at be but by for if in into is it no not of on or such that the their then there these they this to was
will with
"""

UNINDEXED = frozenset(_UNINDEXED.split())
"""Words that a server's search module leaves out of every text field, whatever the language."""


@cache
def stop_words(language: str) -> frozenset[str]:
    """The stop words of a language by its name, in lower case; none for a language without a list."""
    return frozenset(_WORDS.get(language, "").split())
