"""Surnames by language: the alphabet they are written in, what is kept of a list, and the embedded lists."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from importlib.resources import files

ALPHABET = "abcdefghijklmnopqrstuvwxyz '-"
"""The symbols of a folded name; the index here is the token."""
SHORTEST, LONGEST = 2, 20
"""Fewest and most symbols of a folded name."""
FEWEST_NAMES = 10
"""Names below which a language is left out."""

_LETTERS = str.maketrans(
    {
        "ß": "ss",
        "æ": "ae",
        "œ": "oe",
        "þ": "th",
        "ð": "d",
        "đ": "d",
        "ə": "e",
        "ı": "i",
        "ł": "l",
        "ø": "o",
        "‘": "'",
        "’": "'",
        "ʻ": "'",
        "ʼ": "'",
    }
)
"""Letters and marks that Unicode does not decompose into an ASCII letter and accents."""


def fold(name: str) -> str:
    """The name in lower case without accents, single spaces between its words.

    >>> fold("Ó Súilleabháin"), fold("Großmann"), fold("Øverland"), fold("Cəfərov")
    ('o suilleabhain', 'grossmann', 'overland', 'ceferov')
    """
    parts = unicodedata.normalize("NFKD", name.lower().translate(_LETTERS))
    return " ".join("".join(part for part in parts if not unicodedata.combining(part)).split())


def unambiguous(lists: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    """The names of each language that tell it, folded and sorted; every string stands in one language only.

    Left out are names with a symbol outside `ALPHABET`, shorter than `SHORTEST` or longer than `LONGEST`; then
    strings that stand in several languages, from all of them, for their label is ambiguous; then languages with
    fewer than `FEWEST_NAMES` names.

    >>> unambiguous({"German": ["Müller", "Muller", "Lang"] + [c * 9 for c in "abcdefghijk"], "Danish": ["Lang"]})
    ... # doctest: +ELLIPSIS
    {'German': ['aaaaaaaaa', ..., 'kkkkkkkkk', 'muller']}
    """
    folded = {language: {fold(name) for name in names} for language, names in sorted(lists.items())}
    kept = {
        language: {name for name in names if SHORTEST <= len(name) <= LONGEST and set(name) <= set(ALPHABET)}
        for language, names in folded.items()
    }
    languages = Counter(name for names in kept.values() for name in names)
    alone = {language: sorted(name for name in names if languages[name] == 1) for language, names in kept.items()}
    return {language: names for language, names in alone.items() if len(names) >= FEWEST_NAMES}


def embedded() -> dict[str, list[str]]:
    """The lists of ``surnames.tsv`` beside this module, which `build_surnames` wrote: names by language."""
    text = files("rnnae_tasks.names").joinpath("surnames.tsv").read_text(encoding="utf-8")
    lists: dict[str, list[str]] = {}
    for line in text.splitlines():
        name, language = line.split("\t")
        lists.setdefault(language, []).append(name)
    return dict(sorted(lists.items()))
