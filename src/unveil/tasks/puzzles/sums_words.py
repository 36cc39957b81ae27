"""The words and sentences of sums."""

HE = ("Tom", "Ben", "Sam", "Leo", "Max", "Jim", "Paul", "Omar", "Hugo", "Noah")
SHE = ("Ann", "Mia", "Eva", "Zoe", "Ida", "Kim", "Lucy", "Rosa", "Nina", "Vera")
FOOD = ("apples", "pears", "plums", "cookies", "eggs", "nuts", "cherries", "carrots")
THINGS = FOOD + (
    "books", "coins", "stamps", "marbles", "shells", "cards", "pencils", "stones", "flowers", "balls", "buttons",
    "stickers", "cups", "keys", "toys", "beads", "candles", "ribbons",
)  # fmt: skip
START = ("{name} has {n} {things}.", "{name} owns {n} {things}.", "{name} starts with {n} {things}.")
COMPARED = {
    "+": (
        "{name} has {n} more {things} than {base}.",
        "{name} has {n} more than {base}.",
        "{name} owns as many {things} as {base} and {n} more.",
    ),
    "-": ("{name} has {n} fewer {things} than {base}.", "{name} has {n} fewer than {base}."),
    "*": ("{name} has twice as many {things} as {base}.", "{name} owns twice as many as {base}."),
    "/": ("{name} has half as many {things} as {base}.", "{name} owns half as many as {base}."),
}
HAPPENS = {
    "+": (
        "{who} buys {n} more.",
        "{who} buys {n} {things}.",
        "{who} finds {n} more {things}.",
        "{who} gets {n} {things} from {other}.",
        "{other} gives {name} {n} {things}.",
    ),
    "-": (
        "{who} loses {n} {things}.",
        "{who} sells {n} of them.",
        "{who} gives {n} {things} to {other}.",
        "{who} gives {n} of them to {other}.",
        "{other} takes {n} {things} from {name}.",
    ),
    "*": (
        "{who} doubles the number of {things}.",
        "{who} finds as many {things} again.",
        "the number of {things} {name} has doubles.",
    ),
    "/": (
        "{who} loses half of the {things}.",
        "{who} sells half of them.",
        "{who} gives half of the {things} to {other}.",
    ),
}
EATEN = ("{who} eats {n} {things}.", "{who} eats {n} of them.")
LINKS = ("", "", "", "Then ", "Later ")
ASKED = ("How many {things} does {name} have?", "How many {things} does {name} have now?")
ASKED_OF_TWO = (
    "How many {things} do {name} and {base} have together?",
    "How many {things} do {name} and {base} have in all?",
)
BESIDE = ("{other} has {n} {things}.", "{other} is {n} years old.", "{name} has {n} {others}.")
