"""Container names: which are allowed, and a friendly one when the caller gave none."""

import random
from collections.abc import Container

from havre.errors import InvalidParameter

_FIRST = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_REST = _FIRST | frozenset("_.-")
_MOODS = (
    "able bold brave breezy bright brisk calm candid cheerful clever cosy daring deft eager early "
    "easy fair fancy fleet fond frank fresh gentle glad golden grand happy hardy hazy honest jolly "
    "keen kind light lively loyal lucid lucky mellow merry mild modest neat nimble noble open "
    "patient placid plucky polite proud quick quiet ready robust sandy serene sharp shiny silent "
    "sleek smart snug sober solid spry stable steady still stout sturdy sunny supple sure swift tidy "
    "tranquil trusty upbeat vivid warm wise witty young zesty"
).split()
_HARBOURS = (
    "aden agadir algiers amalfi antwerp aqaba aveiro bari bastia bergen bilbao bordeaux boston brest "
    "bristol cadiz calais cannes cork dakar dieppe dover dublin dunkirk esbjerg faro fecamp galway "
    "gdansk genoa ghent granville hamburg havana honfleur hull jaffa kiel kobe lagos leith lisbon "
    "lorient malaga malmo manila marseille mumbai muscat nantes naples narvik odense odessa oran "
    "osaka oslo ostend palermo piraeus plymouth porto pula quimper riga rochelle rostock rouen "
    "saigon salerno split sydney tallinn tangier toulon trieste tunis turku valletta vannes varna "
    "venice vigo yarmouth zadar"
).split()


def check(name: str) -> str:
    """Return the name without its slash. Raises InvalidParameter in Docker's words."""
    bare = name.removeprefix("/")
    if len(bare) < 2 or bare[0] not in _FIRST or not _REST.issuperset(bare):
        raise InvalidParameter(f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
    return bare


def pick(taken: Container[str]) -> str:
    """Return mood_harbour, with a number behind it once those run out."""
    choice = random.SystemRandom()
    for attempt in range(1000):
        name = f"{choice.choice(_MOODS)}_{choice.choice(_HARBOURS)}"
        if attempt > 5:
            name += str(choice.randrange(10**attempt if attempt < 9 else 10**9))
        if name not in taken:
            return name
    raise InvalidParameter("no free container name left", hint="--name NAME")
