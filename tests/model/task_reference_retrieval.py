"""Independent, slow reference of MQAR, induction and the needle tasks: writes the golden files that test_task_mqar.cpp,
test_task_induction.cpp and test_task_needles.cpp read.

    python3 tests/model/task_reference_retrieval.py tests/golden    # mqar_, induction_ and needle_sequences.json;
                                                                    # standard library only

Written from the texts at the heads of model/data/tasks/mqar.hpp, induction.hpp, needles.hpp and distinct.hpp, not from
the code: lists and dictionaries, sequences built by joining parts, weights with 60 decimal digits, answers found in the
finished tokens.
"""

import decimal
import pathlib
import sys
from itertools import accumulate

from recall_reference import WORD, write
from task_reference_mad import Words

decimal.getcontext().prec = 60


def different(words, n, count, taken=()):
    """`count` numbers below n, none of them twice, none of `taken`."""
    drawn = []
    while len(drawn) < count:
        number = words.below(n)
        if number not in drawn and number not in taken:
            drawn.append(number)
    return drawn


def finish(tokens, context, answers):
    """Tokens, targets and distances; answers: the position of each answer token by the place where it is predicted."""
    targets, distance = [-1] * context, [0] * context
    for t, at in answers.items():
        targets[t], distance[t] = tokens[at], t + 1 - at
    return tokens[:context], targets, distance


def mqar(words, context, vocab, pairs, power_a=0.01, filler=0, reassign=0, key_tokens=1):
    half = vocab // 2
    if key_tokens == 1:
        keys = [[1 + k] for k in different(words, half - 1, pairs)]
    else:
        m = next(m for m in range(1, pairs + 2) if m * m >= 2 * pairs)
        symbols = [1 + s for s in different(words, half - 1, m)]
        keys = [[symbols[c // m], symbols[c % m]] for c in different(words, m * m, pairs)]
    values = [half + v for v in different(words, vocab - half, pairs + reassign)]
    keys += [keys[i] for i in different(words, pairs, reassign)]
    head = [token for key, value in zip(keys, values) for token in [*key, value]]
    weights = [int((WORD * decimal.Decimal(g) ** (decimal.Decimal(power_a) - 1)).to_integral_value())
               for g in range(1, (context - len(head)) // 2 + 1)]
    rest, asked = [None] * (context - len(head)), []
    for key in keys[:pairs]:
        left = [slot for slot in range(len(weights)) if slot not in asked]
        sums = list(accumulate(weights[slot] for slot in left))
        low = words.word()
        r = (low + WORD * words.word()) * sums[-1] // 2**64
        asked.append(next(slot for slot, total in zip(left, sums) if total > r))
        rest[2 * asked[-1]:2 * asked[-1] + key_tokens] = key
    tokens = head + [(words.below(vocab) if filler else 0) if token is None else token for token in rest]
    answers = {}
    for key, slot in zip(keys, asked):
        last = max(j for j, other in enumerate(keys) if other == key)
        answers[len(head) + 2 * slot + key_tokens - 1] = (key_tokens + 1) * last + key_tokens
    return finish(tokens, context, answers)


def induction(words, context, vocab):
    p = words.below(context - 3)
    tokens = [vocab - 1 if t in (p, context - 1) else words.below(vocab - 1) for t in range(context)]
    return finish(tokens, context, {context - 1: p + 1})


def lay_out(words, needles, noise, noise_vocab):
    """The haystack of (class, tokens): needles among `noise` tokens of noise, in the order of their classes."""
    tokens = []
    for depth, needle in sorted(needles):
        while sum(token is None for token in tokens) < depth * noise // 39:
            tokens.append(None)
        tokens += needle
    tokens += [None] * (noise - sum(token is None for token in tokens))
    return [words.below(noise_vocab) if token is None else token for token in tokens]


def retrieve(words, index, context, noise_vocab, key_vocab, value_vocab, value_tokens, k=1, r=1, q=1):
    n, haystack = k * r, context + 1 - q * (2 + r * value_tokens)
    if words.eval and r * q == 1:
        classes = [index % 40]
        classes += different(words, 40, n - 1, classes)
    else:
        classes = different(words, 40, n)
    classes = [c for i in range(k) for c in sorted(classes[i * r:(i + 1) * r])]
    keys = [noise_vocab + key for key in different(words, key_vocab, k)]
    values = [[noise_vocab + key_vocab + words.below(value_vocab) for _ in range(value_tokens)] for _ in range(n)]
    needles = [(classes[j], [keys[j // r], *values[j]]) for j in range(n)]
    tokens = lay_out(words, needles, haystack - n * (1 + value_tokens), noise_vocab)
    begins = {key: [at for at, token in enumerate(tokens) if token == key] for key in keys[:q]}
    answers = {}
    for key in keys[:q]:
        tokens += [noise_vocab + key_vocab + value_vocab, key]
        for at in begins[key]:
            for v in range(value_tokens):
                answers[len(tokens) - 1] = at + 1 + v
                tokens.append(tokens[at + 1 + v])
    assert len(tokens) == context + 1
    return finish(tokens, context, answers)


def all_needles(words, index, context, noise_vocab, key_vocab, value_vocab, value_tokens):
    width, haystack = 1 + value_tokens, context - 1 - value_tokens
    n = haystack // width
    depth = index % 40 if words.eval else words.below(40)
    keys = [noise_vocab + key for key in different(words, key_vocab, n)]
    values = [[noise_vocab + key_vocab + words.below(value_vocab) for _ in range(value_tokens)] for _ in range(n)]
    tokens = [words.below(noise_vocab) for _ in range(haystack % width)]
    for key, value in zip(keys, values):
        tokens += [key, *value]
    asked = keys[int(decimal.Decimal(depth * (n - 1) / decimal.Decimal(39)).to_integral_value(decimal.ROUND_HALF_UP))]
    at = tokens.index(asked)
    tokens += [noise_vocab + key_vocab + value_vocab, asked]
    answers = {context - value_tokens + v: at + 1 + v for v in range(value_tokens)}
    tokens += [tokens[at + 1 + v] for v in range(value_tokens)]
    return finish(tokens, context, answers)


def tracking(words, index, context, noise_vocab, key_vocab, value_vocab, chains, hops):
    length = hops + 1
    ask = noise_vocab + key_vocab + value_vocab
    classes = different(words, 40, chains * length)
    variables = [noise_vocab + x for x in different(words, key_vocab, chains * length)]
    values = [noise_vocab + key_vocab + x for x in different(words, value_vocab, chains)]
    needles = []
    for c in range(chains):
        left = variables[c * length:(c + 1) * length]
        right = [values[c], *left]
        for depth, x, y in zip(sorted(classes[c * length:(c + 1) * length]), left, right):
            needles.append((depth, [ask + 1, x, y]))
    tokens = lay_out(words, needles, context - 2 - hops - 3 * len(needles), noise_vocab)
    assigned = [tokens.index(x) for x in variables[:length]]  # assigned before it is read
    tokens += [ask, values[0]]
    answers = {}
    for at in assigned:
        answers[len(tokens) - 1] = at
        tokens.append(tokens[at])
    return finish(tokens, context, answers)


def needles(task, words, index, context, p):
    if task == "needle_tracking":
        return tracking(words, index, context, **p)
    if task == "needle_haystack":
        return all_needles(words, index, context, **p)
    vocabularies = {name: p[name] for name in ("noise_vocab", "key_vocab", "value_vocab", "value_tokens")}
    return retrieve(words, index, context, **vocabularies, k=p.get("keys", p.get("queries", 1)),
                    r=p.get("values", 1), q=p.get("queries", 1))


BIG = 2**64 - 1
SOME = [(1, "train", 0), (1, "train", 1), (1, "eval", 0), (2, "eval", 79), (12345678901234567890, "train", 5 * 2**32 + 7),
        (BIG, "train", BIG), (3, "eval", BIG)]


def mqar_cases():
    for context, parameters, some in [
        (64, {"vocab": 8192, "pairs": 4}, SOME),
        (32, {"vocab": 256, "pairs": 8}, SOME[:2]),  # a query in every slot
        (45, {"vocab": 31, "pairs": 4, "filler": 1}, SOME[:3]),
        (64, {"vocab": 64, "pairs": 6, "power_a": 1.0, "filler": 1}, SOME[3:5]),
        (64, {"vocab": 64, "pairs": 6, "power_a": 0.0}, SOME[3:5]),
        (64, {"vocab": 8192, "pairs": 8, "reassign": 4}, SOME[:3]),
        (40, {"vocab": 18, "pairs": 4, "reassign": 4, "power_a": 0.5}, SOME[5:]),
        (64, {"vocab": 8192, "pairs": 8, "key_tokens": 2}, SOME[:3]),
        (50, {"vocab": 30, "pairs": 6, "key_tokens": 2, "reassign": 3, "filler": 1}, SOME[4:]),
        (512, {"vocab": 8192, "pairs": 64}, SOME[:1]),
        (4, {"vocab": 4, "pairs": 1}, SOME[5:6]),
    ]:
        for seed, split, index in some:
            yield case("mqar", context, parameters, seed, split, index, Words("mqar", seed, split, index))


def induction_cases():
    for context, vocab, some in [(31, 20, SOME), (256, 16, SOME[:3]), (4, 2, SOME[5:]), (5, 3, SOME[:3])]:
        for seed, split, index in some:
            yield case("induction", context, {"vocab": vocab}, seed, split, index, Words("induction", seed, split, index))


def needle_cases():
    usual = {"noise_vocab": 16, "key_vocab": 64, "value_vocab": 64}
    small = {"noise_vocab": 1, "key_vocab": 41, "value_vocab": 3}
    two = {"value_tokens": 2}
    for task, context, parameters, some in [
        ("needle_single", 128, usual | two, SOME),
        ("needle_single", 6, small | two, SOME[:4]),
        ("needle_single", 60, small | {"value_tokens": 7}, SOME[2:5]),
        ("needle_multikey", 128, usual | two | {"keys": 4}, SOME),
        ("needle_multikey", 300, small | {"keys": 40, "value_tokens": 3}, SOME[:3]),
        ("needle_haystack", 128, usual | two, SOME),
        ("needle_haystack", 81, small | {"value_tokens": 1}, SOME[:4]),
        ("needle_multivalue", 128, usual | two | {"values": 4}, SOME),
        ("needle_multivalue", 64, small | {"values": 9, "value_tokens": 1}, SOME[:3]),
        ("needle_multiquery", 128, usual | two | {"queries": 4}, SOME),
        ("needle_multiquery", 41, small | {"queries": 5, "value_tokens": 2}, SOME[:3]),
        ("needle_tracking", 128, usual | {"chains": 1, "hops": 4}, SOME),
        ("needle_tracking", 64, small | {"chains": 3, "hops": 2}, SOME[:3]),
        ("needle_tracking", 40, small | {"chains": 2, "hops": 0}, SOME[:2]),
        ("needle_tracking", 21, usual | {"chains": 1, "hops": 4}, SOME[:2]),
    ]:
        for seed, split, index in some:
            yield case(task, context, parameters, seed, split, index, Words("needles", seed, split, index))


def case(task, context, parameters, seed, split, index, words):
    if task == "mqar":
        made = mqar(words, context, **parameters)
    elif task == "induction":
        made = induction(words, context, **parameters)
    else:
        made = needles(task, words, index, context, parameters)
    return {"task": task, "context": context, "parameters": parameters, "data_seed": seed, "split": split,
            "index": index, **dict(zip(("tokens", "targets", "distance"), made))}


if __name__ == "__main__":
    folder = pathlib.Path(sys.argv[1])
    write(folder / "mqar_sequences.json", mqar_cases())
    write(folder / "induction_sequences.json", induction_cases())
    write(folder / "needle_sequences.json", needle_cases())
