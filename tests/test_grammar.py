"""Laws of data/grammar.py: one derivation per sentence, and an entropy that is exact."""

import itertools
import math
import random
import subprocess
import sys
from collections import Counter, defaultdict

import pytest
from grammar_module import DATA, load_grammar

grammar = load_grammar()
RULES = grammar.GRAMMAR.rules
CORPUS = (DATA / "grammar.txt").read_bytes().decode("ascii")
LINES = CORPUS.splitlines(keepends=True)
SIGMAS = 4.5  # standard errors that a sample may be off; it is seeded, so never flaky


def command(*args: str) -> bytes:
    """Return what the script writes to stdout."""
    script = [sys.executable, str(DATA / "grammar.py"), *args]
    return subprocess.run(script, check=True, capture_output=True).stdout


# The corpus.


def test_the_corpus_is_what_the_command_prints() -> None:
    """Without options, byte for byte."""
    assert command() == (DATA / "grammar.txt").read_bytes()


def test_options_of_the_command() -> None:
    """--seed and --chars reach the drawing, and --entropy prints the exact number."""
    assert command("--seed", "7", "--chars", "999").decode() == grammar.draw_corpus(7, 999)
    assert float(command("--entropy")) == grammar.entropy_bits_per_char()


def test_length_and_seed_of_a_corpus() -> None:
    """A text is a prefix of longer ones, ends with the sentence that fills it, and has a seed."""
    text = grammar.draw_corpus(3, 5_000)
    shorter = grammar.draw_corpus(3, len(text))
    assert shorter == text and len(text) >= 5_000
    assert len(text) - len(text.splitlines(keepends=True)[-1]) < 5_000
    assert grammar.draw_corpus(3, 9_000).startswith(text)
    assert not grammar.draw_corpus(4, 9_000).startswith(text[:200])


def test_characters() -> None:
    """Lower-case letters, spaces, full stops and newlines."""
    assert len(CORPUS) >= 500_000
    assert set(CORPUS) <= set("abcdefghijklmnopqrstuvwxyz .\n")
    assert len(set(CORPUS)) >= 25
    assert all(line.count(".") == 1 and line.endswith(".\n") for line in LINES)


def test_drawing_uses_random_alone() -> None:
    """Other methods of random.Random may change their stream between Python versions."""

    class OnlyRandom:
        random = random.Random(5).random

    reference = random.Random(5)
    for _ in range(50):
        assert grammar.GRAMMAR.draw(OnlyRandom()) == grammar.GRAMMAR.draw(reference)


def test_choices_are_drawn_with_their_probabilities() -> None:
    """Pearson's chi-square of every rule lies near its degrees of freedom."""
    rng = random.Random(1)
    counts = Counter(c for _ in range(8_000) for c in grammar.GRAMMAR.draw(rng)[1])
    for rule, alternatives in RULES.items():
        n = sum(counts[rule, i] for i in range(len(alternatives)))
        chi2 = sum(
            (counts[rule, i] - n * p) ** 2 / (n * p) for i, (p, _) in enumerate(alternatives)
        )
        dof = len(alternatives) - 1
        assert chi2 <= dof + SIGMAS * math.sqrt(2 * dof) + SIGMAS, rule


# One derivation per sentence.


def test_parsing_gives_back_the_choices_drawn() -> None:
    """Left to right, for thousands of sentences."""
    rng = random.Random(2)
    for _ in range(5_000):
        line, choices = grammar.GRAMMAR.draw(rng)
        assert grammar.GRAMMAR.parse(line) == choices


def test_one_word_of_lookahead_decides_every_choice() -> None:
    """The LL(1) conditions, which prove that no sentence has two derivations.

    Alternatives of a rule begin with different words (`lookahead` raises otherwise), at most one
    is empty, and then no word that may follow the rule begins another of its alternatives.
    """
    begins: dict[str, set[str]] = defaultdict(set)
    for rule, word in grammar.GRAMMAR.lookahead:
        begins[rule].add(word)
    empty = {rule for rule in RULES if "" in begins[rule]}
    follows: dict[str, set[str]] = {rule: set() for rule in RULES}
    follows["SENTENCE"].add(".")
    for _ in RULES:  # as many rounds as a word can need to travel
        for rule, alternatives in RULES.items():
            for _, symbols in alternatives:
                assert not symbols or symbols[0] not in empty
                after = follows[rule]
                for symbol in reversed(symbols):
                    follows.get(symbol, set()).update(after)
                    first = begins[symbol] if symbol in RULES else {symbol}
                    after = (first - {""}) | (after if symbol in empty else set())
    for rule in empty:
        assert follows[rule] and not follows[rule] & begins[rule]
    assert {"ADJS", "WHICH", "WHERE", "MORE"} == empty


def test_alternatives_that_begin_alike_are_refused() -> None:
    """Also if the common word is inside another rule, or is twice in one list."""
    inner = [(1.0, ("a",))]
    for twins in ([("a",), ("a", "b")], [("X",), ("a", "b")], [("a",), ("a",)]):
        rules = {"SENTENCE": [(0.5, symbols) for symbols in twins], "X": inner}
        with pytest.raises(ValueError, match="SENTENCE: two alternatives can begin with 'a'"):
            grammar.bits("a.\n", grammar.Grammar(rules))


def test_probabilities_of_a_rule_add_up_to_one() -> None:
    """And each is above 0."""
    for rule, alternatives in RULES.items():
        assert min(p for p, _ in alternatives) > 0, rule
        assert math.fsum(p for p, _ in alternatives) == pytest.approx(1, abs=1e-12), rule


# The entropy and the code length.


def small_grammar() -> dict[str, list[tuple[float, tuple[str, ...]]]]:
    """Return the real rules with fewer words and no recursion: finitely many sentences."""
    counts = {"NOUN": 2, "STEP": 2, "PAIR": 3, "SENTENCE": 2, "MORE": 2, "ACT": 2, "WHERE": 2}
    rules = {
        rule: [(p / sum(q for q, _ in some), symbols) for p, symbols in some]
        for rule, alternatives in RULES.items()
        for some in [alternatives[: counts.get(rule, 1)]]
    }
    rules["ADJS"] = [(0.7, ()), (0.3, ("ADJ",))]
    rules["WHICH"] = [(0.8, ()), (0.2, ("that", "GOES"))]
    rules["FILLED_1"], rules["FILLED_2"] = RULES["FILLED_1"], RULES["FILLED_2"]
    return rules


def enumerate_all(
    rules: dict[str, list[tuple[float, tuple[str, ...]]]], symbols: tuple[str, ...]
) -> list[tuple[float, tuple[str, ...]]]:
    """Return every (probability, words) that the symbols can become, one per derivation."""
    if not symbols:
        return [(1.0, ())]
    heads = [(1.0, symbols[:1])]
    if symbols[0] in rules:
        heads = [
            (p * q, words)
            for p, inner in rules[symbols[0]]
            for q, words in enumerate_all(rules, inner)
        ]
    tails = enumerate_all(rules, symbols[1:])
    return [(p * q, head + tail) for (p, head), (q, tail) in itertools.product(heads, tails)]


def test_entropy_of_a_small_grammar_by_enumeration() -> None:
    """No string comes twice; -sum p log2 p over the strings and their mean length agree."""
    rules = small_grammar()
    strings = [(p, " ".join(words) + ".\n") for p, words in enumerate_all(rules, ("SENTENCE",))]
    assert len({s for _, s in strings}) == len(strings) > 10_000
    assert math.fsum(p for p, _ in strings) == pytest.approx(1)
    entropy = math.fsum(-p * math.log2(p) for p, _ in strings)
    length = math.fsum(p * len(s) for p, s in strings)
    small = grammar.Grammar(rules)
    assert grammar.entropy_bits_per_char(small) == pytest.approx(entropy / length, rel=1e-12)
    for p, string in strings[::50]:
        assert grammar.bits(string, small) == pytest.approx(-math.log2(p))


def test_entropy_of_a_recursion_in_closed_form() -> None:
    """Geometric number of words: H = h(p) / p bits, E[characters] = 2 / p + 1."""
    for p in (0.5, 0.1):
        rules = {"SENTENCE": [(p, ("a",)), (1 - p, ("b", "SENTENCE"))]}
        h = -p * math.log2(p) - (1 - p) * math.log2(1 - p)
        expected = (h / p) / (2 / p + 1)
        assert grammar.entropy_bits_per_char(grammar.Grammar(rules)) == pytest.approx(expected)


def test_entropy_is_the_mean_code_length_of_a_large_sample() -> None:
    """Code length - rate * characters has mean 0 per sentence, within a few standard errors."""
    rate = grammar.entropy_bits_per_char()
    assert 1.0 < rate < 1.5
    excess = [grammar.bits(line) - rate * len(line) for line in LINES]
    n = len(excess)
    error = math.sqrt(sum(x * x for x in excess)) / n
    assert abs(sum(excess) / n) < SIGMAS * error
    assert SIGMAS * error < 0.01 * rate * len(CORPUS) / n  # a rate 1 % off would be seen


def test_bits_of_two_sentences_by_hand() -> None:
    """The product of the probabilities in the tables."""

    def word(rule: str, rank: int) -> float:
        n = len(grammar.WORDS[rule].split())
        return (1 / (rank + 8)) / sum(1 / (r + 8) for r in range(1, n + 1))

    p = 0.3 * (1 / 8) * word("STEP", 1) * word("STEP", 2) * (1 - 0.3) * (0.25 / 0.7)
    assert grammar.bits("anna sang sat then painted.\n") == pytest.approx(-math.log2(p))
    p = 0.7 * word("DET", 1) * 0.35 * word("ADJ", 2) * 0.65 * word("NOUN", 1) * 0.8
    p *= 0.4 * word("GOES", 1) * 0.5 * 0.85
    assert grammar.bits("the old cat ran.\n") == pytest.approx(-math.log2(p))


def test_bits_add_up_over_sentences() -> None:
    """Sentences are independent, so their order does not matter either."""
    lines = LINES[:300]
    total = sum(grammar.bits(line) for line in lines)
    assert grammar.bits("".join(reversed(lines))) == pytest.approx(total)
    assert grammar.bits("") == 0


@pytest.mark.parametrize(
    "line",
    [
        "\n",
        ".\n",
        "the cat ran\n",
        "the cat ran.",
        "the cat.\n",
        "the cat ran..\n",
        "the cat ran .\n",
        "the cat ran . ran.\n",
        "the  cat ran.\n",
        " the cat ran.\n",
        "The cat ran.\n",
        "the cat ran.\r\n",
        "the cat ran ran.\n",
        "the cot ran.\n",
        "SENTENCE.\n",
        "the NOUN ran.\n",
        "anna sang then cooked.\n",
        "anna then painted.\n",
        "anna sang sat ate then painted.\n",
        "anna sang painted.\n",
    ],
)
def test_a_line_that_the_grammar_cannot_make_is_named(line: str) -> None:
    """Both readers of a text refuse it."""
    for read in (grammar.bits, grammar.endings):
        with pytest.raises(ValueError, match="line 3: "):
            read("the cat ran.\nanna sang then painted.\n" + line)


# The pairs.


def test_endings_are_the_last_words_that_a_first_word_decides() -> None:
    """Offset, length and distance, for every sentence with such a first word and no other."""
    steps = grammar.WORDS["STEP"].split()
    endings = iter(grammar.endings(CORPUS))
    start = 0
    for line in LINES:
        first, *middle, last = line[:-2].split()
        if first in grammar.PAIRS:
            offset, length, distance = next(endings)
            assert CORPUS[offset : offset + length] == last == grammar.PAIRS[first]
            assert offset + length + 2 == start + len(line)
            assert middle.pop() == grammar.MARKER
            assert len(middle) == distance and set(middle) <= set(steps)
        start += len(line)
    assert next(endings, None) is None


def test_frequencies_of_pairs_and_distances() -> None:
    """As the tables promise, within a few standard errors."""

    def agrees(count: int, n: int, p: float) -> bool:
        return abs(count - n * p) < SIGMAS * math.sqrt(n * p * (1 - p))

    endings = grammar.endings(CORPUS)
    assert agrees(len(endings), len(LINES), grammar.SYNTAX["SENTENCE"]["PAIR"])
    distances = Counter(ending.distance for ending in endings)
    assert distances.keys() == grammar.DISTANCES.keys()
    for k, p in grammar.DISTANCES.items():
        assert agrees(distances[k], len(endings), p), k
    for first in grammar.PAIRS:
        count = sum(line.startswith(first + " ") for line in LINES)
        assert agrees(count, len(endings), 1 / len(grammar.PAIRS)), first


def test_only_the_first_word_decides_the_last() -> None:
    """All pairs share one filler, and their words and the marker have no other use."""
    fillers = {symbols[1:-1] for _, symbols in RULES["PAIR"]}
    assert len(fillers) == 1
    paired = {*grammar.PAIRS, *grammar.PAIRS.values()}
    assert len(paired) == 2 * len(grammar.PAIRS)
    others = {
        symbol
        for rule, alternatives in RULES.items()
        if rule != "PAIR"
        for _, symbols in alternatives
        for symbol in symbols
    }
    assert not paired & others
    users = {rule for rule in RULES if any(grammar.MARKER in s for _, s in RULES[rule])}
    assert users == {f"FILLED_{k}" for k in grammar.DISTANCES}


def test_forgetting_the_first_word_costs_little() -> None:
    """A model without hidden state loses < 4 % of the entropy, at distances >= 8 < 1.5 %."""
    entropy = grammar.GRAMMAR.mean(lambda p, _: -math.log2(p))  # bits per sentence
    cost = grammar.SYNTAX["SENTENCE"]["PAIR"] * math.log2(len(grammar.PAIRS))
    far = sum(p for k, p in grammar.DISTANCES.items() if k >= 8)
    assert 0.01 < cost / entropy < 0.04
    assert 0.002 < cost * far / entropy < 0.015
