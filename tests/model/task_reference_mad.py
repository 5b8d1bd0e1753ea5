"""Independent, slow reference of the six MAD tasks: writes the golden file that test_task_mad.cpp reads.

    python3 tests/model/task_reference_mad.py tests/golden    # mad_sequences.json; standard library only

Written from the texts at the heads of model/data/tasks/mad_*.hpp and of model/data/draws.hpp, not from the code: lists,
dictionaries, answers found by looking back through finished lists.
"""

import json
import pathlib
import sys
from fractions import Fraction

from recall_reference import philox, write

WORD = 1 << 32


class Words:
    """The words of one sequence, one after the other."""

    def __init__(self, name, seed, split, index):
        tag = int.from_bytes(name.encode()[:8].ljust(8, b"\0"), "big")
        key = (0 if split == "eval" else seed) ^ tag
        self.key = [key % WORD, key // WORD]
        self.tail = [index % WORD, index // WORD, {"train": 0, "eval": 1}[split]]
        self.eval = split == "eval"
        self.drawn = 0

    def word(self):
        number, self.drawn = self.drawn, self.drawn + 1
        return philox([number // 4, *self.tail], self.key)[number % 4]

    def below(self, n):
        return self.word() * n // WORD


def next_tokens(tokens, targets, wanted):
    return tokens[1:] + [targets[-1]] if wanted else targets


def recall(words, context, vocab, next_tokens_trained, noise_vocab=0, noise=0.0):
    n, K = context // 2, (vocab - noise_vocab) // 2
    threshold = Fraction(noise) * WORD // 1
    never_noise = words.below(n - 1) if threshold > 0 else None
    slots, value_of = [], {}  # a slot: (is a pair, token, token); value_of keeps the order of first slots
    for i in range(n):
        if i < n - 1 and threshold > 0 and i != never_noise and words.word() < threshold:
            first = 2 * K + words.below(noise_vocab)
            slots.append((False, first, 2 * K + words.below(noise_vocab)))
            continue
        key = words.below(K) if i < n - 1 else list(value_of)[words.below(len(value_of))]
        if key not in value_of:
            value_of[key] = K + words.below(K)
        slots.append((True, key, value_of[key]))
    tokens = [token for _, *pair in slots for token in pair]
    targets, distance = [-1] * context, [0] * context
    for i, slot in enumerate(slots):
        before = [j for j in range(i) if slots[j] == slot and slot[0]]
        if before:
            targets[2 * i], distance[2 * i] = slot[2], 2 * (i - before[-1])
    return tokens, next_tokens(tokens, targets, next_tokens_trained), distance


def fuzzy(words, context, vocab, key_motif, value_motif, next_tokens_trained):
    K, M = (vocab - 1) // 2, key_motif + value_motif

    def motif(size, alphabet):
        drawn = []
        for _ in range(size):
            left = [token for token in alphabet if token not in drawn]
            drawn.append(left[words.below(len(left))])
        return tuple(drawn)

    def draw_key():
        size = key_motif if words.eval else 1 + words.below(key_motif)
        return motif(size, range(K))

    def draw_value():
        size = 1 + words.below(value_motif)
        return motif(size, range(K, vocab - 1))

    probe = (draw_key(), draw_value())
    own = len(probe[0]) + len(probe[1])
    limit = context - own - M
    start = words.below(limit - M + 1)
    pairs = []

    def size():
        return sum(len(key) + len(value) for key, value in pairs)

    while size() < limit:
        had = dict(pairs)
        if size() >= start and probe[0] not in had:
            pairs.append(probe)
            continue
        key = draw_key()
        if key in had:
            pairs.append((key, had[key]))
        else:
            pairs.append(probe if key == probe[0] else (key, draw_value()))
    pairs.append(probe)
    stream = [token for pair in pairs for part in pair for token in part]
    padding = context + 1 - len(stream)
    stream = [vocab - 1] * padding + stream
    targets, distance = [-1] * context, [0] * context
    values_at, at = {}, padding
    for key, value in pairs:
        at += len(key)
        for j, token in enumerate(value):
            if key in values_at:
                answer = values_at[key] + j
                assert stream[answer] == token
                targets[at + j - 1], distance[at + j - 1] = token, at + j - answer
        values_at[key] = at
        at += len(value)
    assert padding >= 2 and at == context + 1
    return stream[:-1], stream[1:] if next_tokens_trained else targets, distance


def selective_copy(words, context, vocab, copy):
    content = [words.below(vocab - 2) for _ in range(copy)]
    drew = [words.below(copy) for _ in range(context - 2 * copy - 1)]
    tokens, at = [], []
    for j, token in enumerate(content):
        tokens += [vocab - 2] * drew.count(j)
        at.append(len(tokens))
        tokens.append(token)
    tokens += [vocab - 1] + [vocab - 2] * copy
    first = context - copy
    return (tokens, [-1] * first + content, [0] * first + [first + j + 1 - at[j] for j in range(copy)])


def compression(words, context, vocab):
    tokens = [words.below(vocab - 1) for _ in range(context - 1)]
    return tokens + [vocab - 1], tokens + [-1], [-1] * (context - 1) + [0]


def memorization(words, context, vocab):
    K = (vocab - 1) // 2
    shuffle, values = Words("mad_map", 0, "train", 0), list(range(K, vocab - 1))
    for i in range(K):
        j = i + shuffle.below(len(values) - i)
        values[i], values[j] = values[j], values[i]
    keys = [words.below(K) for _ in range(context // 2)]
    return ([token for key in keys for token in (key, vocab - 1)], [t for key in keys for t in (-1, values[key])],
            [0, -1] * len(keys))


def make(task, words, context, p):
    trained = p.get("next_tokens", 1) == 1
    if task in ("mad_recall", "mad_noisy_recall"):
        return recall(words, context, p["vocab"], trained, p.get("noise_vocab", 0), p.get("noise", 0.0))
    if task == "mad_fuzzy_recall":
        return fuzzy(words, context, p["vocab"], p["key_motif"], p["value_motif"], trained)
    if task == "mad_selective_copy":
        return selective_copy(words, context, p["vocab"], p["copy"])
    return {"mad_compression": compression, "mad_memorization": memorization}[task](words, context, p["vocab"])


def cases():
    big = 2**64 - 1
    noisy, fuzzy_motifs = {"vocab": 32, "noise_vocab": 16}, {"key_motif": 3, "value_motif": 3}
    for task, context, parameters, seed, split, index in [
        ("mad_recall", 128, {"vocab": 16}, 1, "train", 0),
        ("mad_recall", 64, {"vocab": 16, "next_tokens": 0}, 12345678901234567890, "train", 5 * 2**32 + 7),
        ("mad_recall", 32, {"vocab": 128, "next_tokens": 0}, 3, "eval", big),
        ("mad_recall", 4, {"vocab": 2}, big, "train", big),
        ("mad_noisy_recall", 128, noisy | {"noise": 0.2}, 1, "train", 0),
        ("mad_noisy_recall", 64, noisy | {"noise": 0.8, "next_tokens": 0}, 2, "eval", 9),
        ("mad_noisy_recall", 32, {"vocab": 9, "noise_vocab": 3, "noise": 0.6}, big, "train", 2**40 + 1),
        ("mad_noisy_recall", 16, noisy | {"noise": 1.0}, 7, "train", 3),
        ("mad_noisy_recall", 16, noisy | {"noise": 0.0}, 7, "train", 3),
        ("mad_fuzzy_recall", 128, {"vocab": 16} | fuzzy_motifs, 1, "train", 0),
        ("mad_fuzzy_recall", 128, {"vocab": 7, "next_tokens": 0} | fuzzy_motifs, 1, "train", 1),
        ("mad_fuzzy_recall", 128, {"vocab": 16, "next_tokens": 0} | fuzzy_motifs, 1, "eval", 0),
        ("mad_fuzzy_recall", 77, {"vocab": 128} | fuzzy_motifs, 12345678901234567890, "train", 5 * 2**32 + 7),
        ("mad_fuzzy_recall", 18, {"vocab": 2048} | fuzzy_motifs, big, "eval", big),
        ("mad_fuzzy_recall", 40, {"vocab": 6, "key_motif": 2, "value_motif": 1, "next_tokens": 0}, 4, "train", 8),
        ("mad_fuzzy_recall", 9, {"vocab": 3, "key_motif": 1, "value_motif": 1}, 4, "eval", 8),
        ("mad_selective_copy", 96, {"vocab": 16, "copy": 16}, 1, "train", 0),
        ("mad_selective_copy", 64, {"vocab": 128, "copy": 31}, 3, "eval", big),
        ("mad_selective_copy", 4, {"vocab": 3, "copy": 1}, big, "train", big),
        ("mad_compression", 32, {"vocab": 16}, 1, "train", 0),
        ("mad_compression", 33, {"vocab": 128}, 3, "eval", big),
        ("mad_compression", 2, {"vocab": 2}, big, "train", 5 * 2**32 + 7),
        ("mad_memorization", 32, {"vocab": 256}, 1, "train", 0),
        ("mad_memorization", 32, {"vocab": 8192}, 3, "eval", big),
        ("mad_memorization", 8, {"vocab": 4}, big, "train", 5 * 2**32 + 7),
    ]:
        words = Words(task, seed, split, index)
        tokens, targets, distance = make(task, words, context, parameters)
        yield {"task": task, "context": context, "parameters": parameters, "data_seed": seed, "split": split,
               "index": index, "tokens": tokens, "targets": targets, "distance": distance}


if __name__ == "__main__":
    write(pathlib.Path(sys.argv[1]) / "mad_sequences.json", cases())
