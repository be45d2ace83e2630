"""What the offline demo makes of a question: words to look for, and what to work out.

Plain word lists, English only: there is no understanding here, and the answer says so.
"""

import re
from typing import NamedTuple

MAX_QUESTION = 2_000
"""Characters of a question that are looked at."""
MAX_TERMS = 6
"""Words looked for: one search each."""
MIN_TERM = 3


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


SUM = _words("total totals sum altogether combined overall")
AVERAGE = _words("average mean")
DIFFERENCE = _words("difference gap versus")
LEFT = _words("left remaining remains remain")
MONEY = _words("cost costs spend spent pay paid price prices money expensive cheap")
LIMITS = ("budget", "limit", "allowance", "target", "quota", "cap")
"""Nouns that something can be left of."""
MONTHS = (
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
)
STOP = _words("""
    a about according after all also am an and any anybody anything are as at be because been
    before between both but by can could did do does done each every file files find folder for
    from get give had has have he her his how i if in into is it its list long many me more most
    much my need not of off on one or our out over please say says she should show so some
    somebody something tell than that the their them then there these they this those to two up
    us was we were what when where whether which who whom whose why will with within would year
    you your
""")
WORD = re.compile(r"[^\W_][\w'-]*[^\W_]|[^\W_]")
QUOTED = re.compile(r"[\"“]([^\"”]{2,80})[\"”]")
ARITHMETIC = re.compile(r"[\d(][\d.()\s]*(?:\s[-+*/]\s*|\*\*|[*+])[-+*/().\d\s]*[\d)]")


class Question(NamedTuple):
    """A question, taken apart."""

    names: tuple[str, ...]
    """Words that name something: capitalised, quoted, with a digit, or a month."""
    words: tuple[str, ...]
    """Other words worth looking for, in their stem form."""
    wants: frozenset[str]
    """`sum`, `average`, `difference`, `left`, `money`."""
    limit: str
    """The noun that something is left of, when that is asked."""
    arithmetic: str
    """A calculation that the question itself spells out."""

    @property
    def terms(self) -> tuple[str, ...]:
        """Names, then words: at most six."""
        return (self.names + self.words)[:MAX_TERMS]


def read_question(text: str) -> Question:
    """Take `text` apart; only its first 2,000 characters count."""
    text = text[:MAX_QUESTION]
    names, words = [found.lower() for found in QUOTED.findall(text)], list[str]()
    seen = set[str]()
    end = -1
    for match in WORD.finditer(text):
        word, term = match[0], _stem(match[0])
        seen.add(word.lower())
        if any(term in phrase for phrase in names) or not _worth_looking_for(word):
            continue
        if not _is_name(word, opening=_opens_sentence(text, match.start())):
            words.append(term)
        elif end == match.start() - 1 and text[end] == " " and _may_join(names[-1], term):
            # A full name says more than its parts, which stay as words in case it is none.
            words += [names[-1], term]
            names[-1] = f"{names[-1]} {term}"
            end = match.end()
        else:
            names.append(term)
            end = match.end()
    arithmetic = ARITHMETIC.search(text)
    return Question(
        names=tuple(dict.fromkeys(names)),
        words=tuple(dict.fromkeys(word for word in words if word not in names)),
        wants=_wants(seen, text.lower()),
        limit=next((noun for noun in LIMITS if noun in map(_stem, seen)), ""),
        arithmetic=arithmetic[0].strip() if arithmetic else "",
    )


def _may_join(first: str, second: str) -> bool:
    return not any(char.isdigit() for char in first + second) and not {first, second} & {*MONTHS}


def _wants(words: set[str], text: str) -> frozenset[str]:
    asked = {
        "sum": words & SUM or "how much" in text or "add up" in text,
        "average": words & AVERAGE,
        "difference": words & DIFFERENCE,
        "left": words & LEFT,
        "money": words & MONEY,
    }
    return frozenset(name for name, found in asked.items() if found)


def _worth_looking_for(word: str) -> bool:
    intents = SUM | AVERAGE | DIFFERENCE | LEFT | MONEY | STOP
    if word == "may" or word.lower() in intents:
        return False
    # Scripts without an alphabet say much in two characters.
    return len(word) >= MIN_TERM or not word.isascii()


def _is_name(token: str, *, opening: bool) -> bool:
    if any(char.isdigit() for char in token) or token.isupper():
        return True
    return not opening and token[0].isupper()


def _opens_sentence(text: str, start: int) -> bool:
    before = text[:start].rstrip()
    return not before or before[-1] in ".!?:\n"


def _stem(token: str) -> str:
    """Lower case, without a genitive or plural ending: a prefix of every form of the word."""
    word = token.lower().removesuffix("'s").removesuffix("\N{RIGHT SINGLE QUOTATION MARK}s")
    if len(word) > MIN_TERM and word.endswith("ies"):
        return word[:-3]
    if len(word) > MIN_TERM and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


def matches(term: str, text: str) -> bool:
    """Whether `term` opens a word of `text`, whatever its case; a month also matches a date."""
    text = text.lower()
    if not term.isascii():
        return term in text
    if re.search(rf"(?<![a-z0-9]){re.escape(term)}", text):
        return True
    if term not in MONTHS:
        return False
    return bool(re.search(rf"\b\d{{4}}-{MONTHS.index(term) + 1:02}\b", text))
