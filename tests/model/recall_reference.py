"""Independent, slow reference of the recall stream: writes the golden files that test_recall.cpp and test_philox.cpp read.

    python3 tests/model/recall_reference.py tests/golden              # recall_sequences.json; standard library only
    python3 tests/model/recall_reference.py tests/golden --philox     # also recall_philox.json; needs `randomgen`

Written from the text of model/data/tasks/recall_draw.hpp, not from the code: whole integers and fractions, linear scans, distances
found by looking back through the finished tokens. The Philox vectors come from a third implementation (randomgen, counter
incremented before each block, so it is started one below).
"""

import json
import pathlib
import random
import sys
from fractions import Fraction

WORD = 1 << 32
TAG = int.from_bytes(b"recall\0\0", "big")


def philox(counter, key):
    """Philox4x32-10 on lists of 32-bit words, as the paper's S-box network: two products, two key words, ten rounds."""
    left, right, (ka, kb) = [counter[0], counter[2]], [counter[1], counter[3]], key
    for _ in range(10):
        high0, low0 = divmod(0xD2511F53 * left[0], WORD)
        high1, low1 = divmod(0xCD9E8D57 * left[1], WORD)
        left, right = [high1 ^ right[0] ^ ka, high0 ^ right[1] ^ kb], [low1, low0]
        ka, kb = (ka + 0x9E3779B9) % WORD, (kb + 0xBB67AE85) % WORD
    return [left[0], right[0], left[1], right[1]]


def draw(number, seed, split, index):
    key = (0 if split == "eval" else seed) ^ TAG
    return philox([number, index % WORD, index // WORD, {"train": 0, "eval": 1}[split]], [key % WORD, key // WORD])


def log_uniform(u64, i):
    """The least m with w_1 + ... + w_m > floor(u64 C_i / 2^64)."""
    weights = [2**40 // m for m in range(1, i + 1)]
    r = u64 * sum(weights) // 2**64
    total = 0
    for m, weight in enumerate(weights, 1):
        total += weight
        if total > r:
            return m
    raise AssertionError("r is below the sum of all weights")


def sequence(context, keys, values, p, seed, split, index):
    value_of = []
    for k in range(keys):
        word = draw(2**31 + k // 4, seed, split, index)[k % 4]
        value_of.append(keys + word * values // WORD)
    stream = []
    for i in range(context // 2):
        a, b, c, d = draw(i, seed, split, index)
        if i >= 1 and a < Fraction(p) * WORD // 1:
            stream.append(stream[i - log_uniform(b + c * WORD, i)])
        else:
            stream.append(d * keys // WORD)
    tokens = [token for key in stream for token in (key, value_of[key])]
    distance = [0] * context
    for i, key in enumerate(stream):
        earlier = [j for j in range(i) if stream[j] == key]
        if earlier:
            distance[2 * i] = 2 * (i - earlier[-1])
    return {"tokens": tokens, "targets": tokens[1:] + [-1], "distance": distance}


def cases():
    big = 2**64 - 1
    for context, keys, values, p, seed, split, index in [
        (64, 16, 16, 0.4, 1, "train", 0),
        (64, 16, 16, 0.4, 1, "train", 1),
        (64, 16, 16, 0.4, 1, "eval", 0),
        (64, 16, 16, 0.4, 2, "train", 0),
        (128, 16, 16, 0.4, 1, "train", 0),
        (64, 16, 16, 0.7, 1, "train", 5 * 2**32 + 7),
        (512, 64, 64, 0.7, 12345678901234567890, "train", 99999),
        (512, 64, 64, 0.4, 3, "eval", big),
        (96, 1000003, 7, 0.9, big, "train", big),
        (32, 5, 2**31 - 6, 1.0, 0, "train", 2**40 + 1),
        (32, 3, 1, 0.0, 7, "train", 4),
        (2, 1, 1, 0.5, 7, "train", 4),
    ]:
        yield {"context": context, "keys": keys, "values": values, "repeat": p, "data_seed": seed, "split": split,
               "index": index, **sequence(context, keys, values, p, seed, split, index)}


def philox_vectors():
    from randomgen import Philox

    source = random.Random(20241)
    for _ in range(32):
        counter, key = source.getrandbits(128), source.getrandbits(64)
        words = Philox(counter=(counter - 1) % 2**128, key=key, number=4, width=32).random_raw(4)
        vector = {"counter": [counter >> 32 * i & WORD - 1 for i in range(4)],
                  "key": [key >> 32 * i & WORD - 1 for i in range(2)], "words": [int(w) for w in words]}
        assert philox(vector["counter"], vector["key"]) == vector["words"]
        yield vector


def write(path, rows):
    lines = ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)
    path.write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    folder = pathlib.Path(sys.argv[1])
    write(folder / "recall_sequences.json", cases())
    if "--philox" in sys.argv:
        write(folder / "recall_philox.json", philox_vectors())
