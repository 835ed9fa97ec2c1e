"""Draw a corpus whose entropy in bits per character is known exactly.

A probabilistic grammar makes independent English-looking sentences, one per line. The next word
always tells which alternative was taken, so a sentence has exactly one derivation and its
probability is the product of its choices: a model can come near this entropy, never below it.

Some sentences open with a name that alone decides their last word, up to 16 words later::

    boris sang hid sat wept then cooked.

A model that has lost the name by the end pays 3 bits for the last word, one that kept it none.

Usage: ``python data/grammar.py [--seed N] [--chars N | --entropy]``
"""

import argparse
import math
import random
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

Rules = dict[str, list[tuple[float, tuple[str, ...]]]]  # rule -> [(probability, symbols)]
Choice = tuple[str, int]  # (rule, index of the alternative taken)

SEED = 0
CHARS = 500_000

# Rule -> {symbols: probability}. A symbol that names no rule is a word.
SYNTAX = {
    "SENTENCE": {"CLAUSE MORE": 0.7, "PAIR": 0.3},
    "CLAUSE": {"THING ACT": 1.0},
    "MORE": {"": 0.85, "JOIN CLAUSE": 0.15},
    "THING": {"DET ADJS NOUN WHICH": 1.0},
    "ADJS": {"": 0.65, "ADJ ADJS": 0.35},
    "WHICH": {"": 0.8, "PREP THING": 0.1, "that ACT": 0.1},
    "ACT": {"SEES THING": 0.6, "GOES WHERE": 0.4},
    "WHERE": {"": 0.5, "PREP THING": 0.5},
}

# Rule -> its words, from likely to unlikely: the word of rank r = 1, 2, ... weighs 1 / (r + 8).
WORDS = {
    "DET": "the a one my his her our",
    "ADJ": """big old red shy sad mad wet hot fat coy tall warm kind cold dark fair pale lame
        neat rich poor wise young quick lazy brave happy small proud jolly""",
    "NOUN": """cat man dog boy fox cow pig hen bee ram rat bat bug pup cub kid spy king girl bird
        cook frog lamb wolf bear duck poet goat crow monk maid thief guard swan hawk mule deer
        toad crab fish lion seal mole newt moth wasp wife lord duke chef star boss twin hero nun
        tree gate well barn rock tent boat cart lake hill road wall nurse queen mouse sheep judge
        clown tiger giant zebra pilot horse baker mayor knight pirate dragon""",
    "PREP": "by with near under behind beside above from past",
    "SEES": """saw met fed hit led bit got had won lit cut put drew sold left kept paid held knew
        took gave made lost sent told hurt drove found chose built caught loved pushed kissed
        chased helped feared joined moved pulled""",
    "GOES": """ran fell lay woke came went swam died grew rose hung sped fled slept stood knelt
        stayed danced dreamt""",
    "STEP": """sang sat ate hid wept spat slid spun bent flew rode dozed froze shook leapt crept
        knit wove swore cried smiled waited looked nodded walked turned hummed yawned jumped
        rested winked bowed""",
    "JOIN": "and but while so",
}

# First word -> last word, all equally likely, used nowhere else.
PAIRS = {
    "anna": "painted",
    "boris": "cooked",
    "clara": "fished",
    "david": "wrote",
    "emma": "read",
    "felix": "swept",
    "greta": "prayed",
    "hugo": "dug",
}
DISTANCES = {1: 0.3, 2: 0.25, 4: 0.2, 8: 0.15, 16: 0.1}  # words of filler -> probability
MARKER = "then"  # ends the filler, so that the last word is expected


def build_rules() -> Rules:
    """Return the rules that the tables above describe."""
    rules: Rules = {
        name: [(p, tuple(symbols.split())) for symbols, p in alternatives.items()]
        for name, alternatives in SYNTAX.items()
    }
    for name, words in WORDS.items():
        weights = {word: 1 / (r + 8) for r, word in enumerate(words.split(), start=1)}
        total = math.fsum(weights.values())
        rules[name] = [(weight / total, (word,)) for word, weight in weights.items()]
    lengths = sorted(DISTANCES)
    filler = (*["STEP"] * lengths[0], f"FILLED_{lengths[0]}")
    rules["PAIR"] = [(1 / len(PAIRS), (first, *filler, last)) for first, last in PAIRS.items()]
    # After k words, stop there or continue to the next length. A length drawn before the words
    # would not show in the next word, and so would make the derivation ambiguous on the way.
    for k in lengths:
        longer = [j for j in lengths if j > k]
        p_longer = math.fsum(DISTANCES[j] for j in longer)
        p_longer /= DISTANCES[k] + p_longer
        rules[f"FILLED_{k}"] = [(1 - p_longer, (MARKER,))]
        if longer:
            steps = ["STEP"] * (longer[0] - k)
            rules[f"FILLED_{k}"].append((p_longer, (*steps, f"FILLED_{longer[0]}")))
    return rules


@dataclass(frozen=True)
class Grammar:
    """A probabilistic grammar that is read from left to right with one word of lookahead.

    Attributes:
        rules: The alternatives of every rule, ``SENTENCE`` being the start. The first symbol of
            an alternative makes at least one word; an alternative without symbols makes none.
    """

    rules: Rules

    @cached_property
    def lookahead(self) -> dict[tuple[str, str], int]:
        """Map a rule and the next word to an alternative; ``""`` stands for any other word.

        Raises:
            ValueError: Two alternatives of a rule can begin with the same word.
        """
        table: dict[tuple[str, str], int] = {}
        for rule, alternatives in self.rules.items():
            for index, (_, symbols) in enumerate(alternatives):
                for word in self._first_words(symbols):
                    if table.setdefault((rule, word), index) != index:
                        raise ValueError(f"{rule}: two alternatives can begin with {word!r}")
        return table

    def _first_words(self, symbols: tuple[str, ...]) -> set[str]:
        first = symbols[0] if symbols else ""
        if first not in self.rules:
            return {first}
        return {word for _, inner in self.rules[first] for word in self._first_words(inner)}

    def mean(self, cost: Callable[[float, tuple[str, ...]], float]) -> float:
        """Return the exact mean, over sentences, of a cost summed over their choices.

        Args:
            cost: Cost, at least 0, of an alternative with this probability and these symbols.
        """
        old: dict[str, float] = {}
        new = dict.fromkeys(self.rules, 0.0)
        # Solves mean[rule] = sum of p * (cost + means of the rules inside). From 0 the values
        # only grow, geometrically, until no bit changes.
        while new != old:
            old = new
            new = {
                rule: math.fsum(
                    p * (cost(p, symbols) + math.fsum(old.get(s, 0.0) for s in symbols))
                    for p, symbols in alternatives
                )
                for rule, alternatives in self.rules.items()
            }
        return new["SENTENCE"]

    def draw(self, rng: random.Random) -> tuple[str, list[Choice]]:
        """Draw a line, with its newline, and return it with its choices from left to right."""
        words: list[str] = []
        choices: list[Choice] = []
        stack = ["SENTENCE"]
        while stack:
            symbol = stack.pop()
            if symbol not in self.rules:
                words.append(symbol)
                continue
            # Only `random()` has a stream that is the same in every Python version.
            u, index = rng.random(), 0
            while index < len(self.rules[symbol]) - 1 and u >= self.rules[symbol][index][0]:
                u -= self.rules[symbol][index][0]
                index += 1
            choices.append((symbol, index))
            stack.extend(reversed(self.rules[symbol][index][1]))
        return " ".join(words) + ".\n", choices

    def parse(self, line: str) -> list[Choice]:
        """Return the only choices that make a line, from left to right.

        Args:
            line: A sentence with its full stop and newline.

        Raises:
            ValueError: The grammar cannot make this line.
        """
        if not line.endswith(".\n"):
            raise ValueError(f"no full stop and newline at the end of {line!r}")
        words = [*line[:-2].split(" "), "."]  # the full stop: what may follow the last word
        choices: list[Choice] = []
        stack, position = [".", "SENTENCE"], 0
        while stack:
            symbol, word = stack.pop(), words[position]
            if symbol == word and symbol not in self.rules:
                position += 1
                continue
            index = self.lookahead.get((symbol, word), self.lookahead.get((symbol, "")))
            if index is None:
                raise ValueError(f"word {position + 1} cannot be {word!r} in {line!r}")
            choices.append((symbol, index))
            stack.extend(reversed(self.rules[symbol][index][1]))
        if position < len(words):
            raise ValueError(f"a full stop inside {line!r}")
        return choices


GRAMMAR = Grammar(build_rules())


def entropy_bits_per_char(grammar: Grammar = GRAMMAR) -> float:
    """Return the exact entropy rate of the corpus in bits per character, newlines included."""
    bits_per_sentence = grammar.mean(lambda p, _: -math.log2(p))
    # A space or the full stop follows each word, a newline each sentence.
    chars_per_sentence = 1 + grammar.mean(
        lambda _, symbols: sum(len(s) + 1 for s in symbols if s not in grammar.rules)
    )
    return bits_per_sentence / chars_per_sentence


def draw_corpus(seed: int = SEED, chars: int = CHARS) -> str:
    """Draw whole sentences until they hold at least ``chars`` characters.

    A smaller ``chars`` gives the beginning of the same text.
    """
    rng = random.Random(seed)
    lines: list[str] = []
    length = 0
    while length < chars:
        lines.append(GRAMMAR.draw(rng)[0])
        length += len(lines[-1])
    return "".join(lines)


def bits(text: str, grammar: Grammar = GRAMMAR) -> float:
    """Return -log2 of the probability of a text of whole sentences, in bits.

    A sharper ruler than the entropy: on the same text, the luck of the draw cancels.

    Raises:
        ValueError: The grammar cannot make a line; the message names it.
    """
    return math.fsum(
        -math.log2(grammar.rules[rule][index][0])
        for _, choices in _parsed(text, grammar)
        for rule, index in choices
    )


class Ending(NamedTuple):
    """A last word that the first word of its sentence decides.

    Attributes:
        offset: Characters in the text before the word.
        length: Characters in the word.
        distance: Words of filler between the first word and the marker.
    """

    offset: int
    length: int
    distance: int


def endings(text: str) -> list[Ending]:
    """Return the last words, in a text of whole sentences, that a first word decides.

    Raises:
        ValueError: The grammar cannot make a line; the message names it.
    """
    found: list[Ending] = []
    end = 0
    for line, _ in _parsed(text, GRAMMAR):
        end += len(line)
        first, *filler, last = line[:-2].split(" ")
        if first in PAIRS:
            found.append(Ending(end - 2 - len(last), len(last), len(filler) - 1))
    return found


def _parsed(text: str, grammar: Grammar) -> Iterator[tuple[str, list[Choice]]]:
    for number, line in enumerate(text.splitlines(keepends=True), start=1):
        try:
            yield line, grammar.parse(line)
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None


def main() -> None:
    """Write a corpus, or print the entropy."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--seed", type=int, default=SEED, help="default: %(default)s")
    parser.add_argument(
        "--chars", type=int, default=CHARS, help="at least this many (default: %(default)s)"
    )
    parser.add_argument("--entropy", action="store_true", help="print bits per character instead")
    args = parser.parse_args()
    if args.entropy:
        print(entropy_bits_per_char())
    else:  # as bytes: a text stream would change the newlines on Windows
        sys.stdout.buffer.write(draw_corpus(args.seed, args.chars).encode("ascii"))


if __name__ == "__main__":
    if hasattr(signal, "SIGPIPE"):  # end quietly when piped into `head`
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    main()
