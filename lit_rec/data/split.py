"""Who is trained on and who is held out, by a seeded hash of the user.

The same on any machine and for any order of the rows.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

from lit_rec.core.schema import Split

# One hash per question, so that the answers are independent of each other.
_EVAL, _VAL = "eval", "val"


def seeded_fractions(ids: NDArray[np.int64], *, seed: int, question: str) -> NDArray[np.float64]:
    """One number in [0, 1) per id, evenly spread, fixed by the id, the seed and the question.

    Args:
        ids: int64 ``(U,)``.
        seed: another seed gives unrelated numbers.
        question: what the numbers decide; another question gives unrelated numbers.

    Returns:
        float64 ``(U,)``.
    """
    key = f"{seed}:{question}".encode()
    digests = (hashlib.blake2b(b"%d" % value, digest_size=8, key=key).digest() for value in ids.tolist())
    # 53 bits are what a float64 holds; all 64 would round up to 1 at times.
    return (np.frombuffer(b"".join(digests), dtype="<u8") >> np.uint64(11)) / 2.0**53


def split_users(user_ids: NDArray[np.int64], *, eval_frac: float, val_frac: float, seed: int) -> NDArray[np.str_]:
    """The side of each user, in one split.

    Args:
        user_ids: int64 ``(U,)``.
        eval_frac: share of the users held out from training, 0 to 1.
        val_frac: share of the held-out users that may choose a checkpoint; the others are the test part.
        seed: seed of the hash.

    Returns:
        str ``(U,)``, values of :class:`~lit_rec.core.schema.Split`.
    """
    held_out = seeded_fractions(user_ids, seed=seed, question=_EVAL) < eval_frac
    val = seeded_fractions(user_ids, seed=seed, question=_VAL) < val_frac
    return np.where(held_out, np.where(val, Split.VAL, Split.TEST), Split.TRAIN)


def fold_users(user_ids: NDArray[np.int64], *, n_folds: int, fold: int, val_frac: float, seed: int) -> NDArray[np.str_]:
    """The side of each user in one fold of a cross-validation: each user is in the test part of exactly one.

    Args:
        user_ids: int64 ``(U,)``.
        n_folds: equal parts of the users, at least 2.
        fold: which of them is the test part, 0 to ``n_folds - 1``.
        val_frac: share of the fold after it that may choose a checkpoint; all others train.
        seed: seed of the hash.

    Returns:
        str ``(U,)``, values of :class:`~lit_rec.core.schema.Split`.
    """
    place = (seeded_fractions(user_ids, seed=seed, question=_EVAL) * n_folds - fold) % n_folds
    return np.where(place < 1, Split.TEST, np.where(place < 1 + val_frac, Split.VAL, Split.TRAIN))
