r"""Numbers as answers write them, exactly: `\$1,234.50`, `-3\frac{1}{2}`, `25\%`, `18 \text{ eggs}`."""

import re
from fractions import Fraction

from unveil.tasks.grading.boxes import marked

LONGEST = 200  # characters
THIN = re.compile(r"\\[,;:]|\\! *")
BLANKS = re.compile(r"\\ |\\quad\b|\\qquad\b|~|\s+")
DIGITS = r"(?:[1-9][0-9]{0,2}(?:(?:,[0-9]{3})+|(?: [0-9]{3})+)(?![0-9])|[0-9]+)"
PART = rf"(?:\{{ ?-? ?{DIGITS} ?\}}|[0-9])"  # of a fraction; a digit needs no braces
NUMBER = re.compile(
    rf"(?P<sign>[-+]?) ?(?:(?:(?P<whole>{DIGITS}) ?)?"
    rf"(?:\\[dt]?frac ?(?P<over>{PART}) ?(?P<under>{PART})|(?<![0-9])(?P<top>{DIGITS}) ?/ ?(?P<bottom>{DIGITS}))"
    rf"|(?P<decimal>{DIGITS}(?:\.[0-9]*)?|\.[0-9]+))"
)
WORDS = re.compile(
    r"\\(?:text(?:bf|rm|it|sf|tt)?|emph|mbox|hbox|math(?:rm|bf|it|sf|bb)|boldsymbol|underline) ?\{([^{}]*)\}"
)
STYLES = re.compile(r"\\(?:text)?color ?\{\w*\}|\\(?:display|text)style(?![A-Za-z])")  # digits end a command
SIGNS = re.compile(
    r"\\?[$%]|\^ ?\{? ?\\circ ?\}?|\\[()\[\]]|\*\*|°|(?:US|CA|A|C)(?=\\?\$)|[¢-¥֏؋৲৳฿₠-⃀]"
    r"|\\(?:pounds|euro|yen|cents?|text(?:cent|dollar|euro|sterling|yen))(?![A-Za-z])"
)
CODES = re.compile(r"(?:USD|EUR|GBP|JPY|INR|CNY|CAD|AUD|CHF|Rs\.?) ?(?=[-+.0-9])")
LABEL = re.compile(r"[A-Za-z][A-Za-z ]{,40}: ?")  # "Answer: "
APPROXIMATE = re.compile(r"\\(?:approx|sim|simeq|cong|doteq)(?![A-Za-z])|[≈∼≃≅]|^[\s$]*~")
CLOCK = re.compile(r"([0-9]{1,2}):([0-5][0-9])(?: ?([ap])\.? ?m\b\.?)?", re.IGNORECASE)
SCALES = {"dozen": 12, "hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
SCALE = re.compile(rf" ?({'|'.join(SCALES)})s?\b", re.IGNORECASE)
# What stands behind a number and is no part of it: words, with an exponent as units have it, parted by / or commas.
UNIT = re.compile(r" ?-?(?:(?<=-)[A-Za-z]{2,}|[A-Za-z]+)(?: ?(?:[²³⁻¹]+|\^ ?\{? ?-?[1-3] ?\}?)|'s?|\.)*|[ ()/.,]")
SHORT = frozenset(  # words of one or two letters that are units, or plain English; any other may be a variable
    "m g s h L l C F cm mm km nm kg mg lb oz ft in yd mi mL ml dL cL kL hr kW kJ Hz pm am sq cu st nd rd th of is at "
    "on an a A as up we it so us my by he do no in rs Rs per".split()
)
CHANGING = frozenset(  # words that make another number of it
    "or than to half halves thirds fourths fifths sixths sevenths eighths ninths tenths hundredths thousandths "
    "millionths plus minus divided multiplied root factorial pi xyz one two three five six seven eight nine ten eleven "
    "twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy "
    "eighty ninety hundred thousand million billion trillion dozen base mod modulo choose sqrt sin cos tan log "
    "exp".split()
)
FIRST = frozenset("squared cubed over point times".split())  # words that do so right behind it, if others follow


def exact(text: str) -> Fraction | None:
    """The number that all of `text` writes: digits, with or without a point, a fraction, or a mixed number.

    Commas part groups of three digits. None for all else, and for more than 200 characters.
    """
    found = NUMBER.fullmatch(_plain(text)) if len(text) <= LONGEST and not APPROXIMATE.search(text) else None
    return None if found is None else _value(found)


def number(text: str) -> Fraction | None:
    r"""The one number of an answer to a word problem, None if there is none or more than one.

    After one "=" what stands right of it counts, and after a label such as "Answer:". Dollars, degrees and percent are
    units, so `25\%` is 25; so are words after the number, but for those that change it: `1.5 million` is 1,500,000, and
    `5x` or "4 less than x" is none. Words before it are not taken: "minus 5" is no 5. What is only near it is none, nor
    is a time of the day, but for the hour: "2:00 pm" is 2.
    """
    if len(text) > LONGEST or text.count("=") > 1 or APPROXIMATE.search(text):
        return None
    bare = _bare(text.rpartition("=")[2])
    if time := CLOCK.fullmatch(bare):
        return Fraction(int(time[1])) if time[2] == "00" and time[3] else None
    found = NUMBER.match(bare)
    value = _value(found) if found else None
    if found is None or value is None:
        return None
    end = found.end()
    while scale := SCALE.match(bare, end):
        value, end = value * SCALES[scale[1].lower()], scale.end()
    return value if _unit(bare[end:]) else None


def says_number(text: str, gold: str) -> bool:
    """Whether the number in the last box, without a box that in the last <answer>...</answer>, is the right one."""
    found = marked(text)
    value = None if found is None else number(found)
    return value is not None and value == number(gold)


def _bare(text: str) -> str:
    """A text without styles and signs of currency, in the words that it writes; without its label."""
    bare, more = STYLES.sub("", _plain(text)), 1
    while more:
        bare, more = WORDS.subn(r" \1 ", bare)
    bare = re.sub(r"^\{([^{}]*)\}", r"\1", _plain(SIGNS.sub(" ", bare)))
    return CODES.sub("", LABEL.sub("", bare, count=1) if LABEL.match(bare) else bare, count=1).strip()


def _unit(text: str) -> bool:
    """Whether all of a text is what may stand behind a number without changing it."""
    end = 0
    while end < len(text):
        found = UNIT.match(text, end)
        if found is None:
            return False
        end = found.end()
    outside = re.sub(r"\([A-Za-z -]*\)", " ", text)  # "(eighteen)" says it again
    words = re.findall("[A-Za-z]+", outside)
    if words and words[0].lower() in FIRST and len(words) > (words[0].lower() == "times"):
        return words[0].lower() == "times" and words[1] in ("as", "per", "a", "in", "each") and "number" not in words
    close = re.match("[A-Za-z]{3}(?![A-Za-z])", text)  # three letters that touch the number: abc, or a unit
    if close and close[0].lower() not in ("mph", "kwh", "lbs", "min", "sec", "hrs", "yrs", "kph", "cal"):
        return False
    return all(word in SHORT or len(word) > 2 and word.lower() not in CHANGING for word in words)


def _plain(text: str) -> str:
    """One kind of minus and of comma; one blank between words."""
    return BLANKS.sub(" ", THIN.sub("", text.replace("{,}", ",").replace("−", "-"))).strip()


def _value(found: re.Match[str]) -> Fraction | None:
    sign = -1 if found["sign"] == "-" else 1
    if found["decimal"]:
        return sign * Fraction(re.sub("[, ]", "", found["decimal"]))
    over, under = found["over"] or found["top"], found["under"] or found["bottom"]
    bottom = _whole(under)
    return sign * (_whole(found["whole"] or "0") + Fraction(_whole(over), bottom)) if bottom else None


def _whole(text: str) -> int:
    return int(re.sub(r"[{}, ]", "", text))
