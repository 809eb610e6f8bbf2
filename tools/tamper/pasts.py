"""Other pasts: checkpoints cut or forged, older moments put back, logs of other keys, ends that nobody signed.

Some of these cannot be seen in the folder itself, for nothing in it is wrong. They are what witnesses are for.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from evcharge.audit.checkpoints import CHECKPOINTS
from evcharge.audit.control import signing_key_body
from evcharge.audit.merkle import HASH_SIZE, Frontier, leaf_hash, stored_index
from evcharge.audit.note import Checkpoint, Signer, Verifier, write_note
from evcharge.audit.record import MARK
from evcharge.audit.tree import TREE
from tools.tamper.attacks import Attack, Items, items, other_body, rewritten, without
from tools.tamper.judge import Case, Place
from tools.tamper.made import ORIGIN, Made, Moment, opened, with_notes, with_segments, written
from tools.tamper.memory import HERE, Image, Memory

# A log begins with a mark and the record that names its key.
KEY_NAMED = 2
# Longest stretch that Central writes after an older moment was put back, above the size that a witness remembers.
REGROWN = 60
# How far below the witness's checkpoint such a moment lies at most: what is planted in `tree` must reach that far.
BACK = 120


# --- checkpoints ------------------------------------------------------------------------------------------------------


def notes_cut(made: Made, chance: random.Random) -> Case:
    """The file of checkpoints ends early: behind one, or within one; with nothing in it; or it is gone."""
    data = made.image[CHECKPOINTS]
    end = chance.choice([chance.randrange(len(data)), chance.choice([kept.offset for kept in made.kept])])
    image = {**made.image, CHECKPOINTS: data[:end]}
    if end == 0 and chance.random() < 0.5:
        del image[CHECKPOINTS]
    return Case(image, made.history)


def notes_older(made: Made, chance: random.Random) -> Case:
    """The file as it was at an earlier moment."""
    return Case({**made.image, CHECKPOINTS: chance.choice(made.moments).image[CHECKPOINTS]}, made.history)


def note_out(made: Made, chance: random.Random) -> Case:
    out = chance.randrange(len(made.kept))
    notes = [kept.data for place, kept in enumerate(made.kept) if place != out]
    return Case(with_notes(made.image, notes), made.history)


def notes_swapped(made: Made, chance: random.Random) -> Case:
    notes = list(made.history.notes)
    one, two = sorted(chance.sample(range(len(notes)), 2))
    notes[one], notes[two] = notes[two], notes[one]
    # A larger log stands first now; the next one is the first that is smaller.
    place = Place(CHECKPOINTS, made.kept[one].offset + len(notes[one]), None)
    return Case(with_notes(made.image, notes), made.history, place)


def notes_forged(made: Made, chance: random.Random) -> Case:
    """A record is changed and chained anew, and the checkpoints are made anew: signed by another key."""
    new = items(made)
    where = chance.randrange(len(new))
    new[where] = (new[where][0], other_body(made, chance, new[where][1]))
    forger = Signer(ORIGIN, chance.randbytes(32))
    first = made.covering(where + 1)
    sizes = [kept.checkpoint.size for kept in made.kept if kept.checkpoint.size > where]
    notes = [kept.data for kept in made.kept if kept.checkpoint.size <= where]
    notes += signed(new, sizes, forger)
    if chance.random() < 0.5:
        # With the true key's number before the signature, as if it were its.
        notes = [_disguised(note, made.signer.verifier, forger) for note in notes]
    case = rewritten(made, new, where + 1)
    return Case(with_notes(case.image, notes), made.history, Place(CHECKPOINTS, first.offset, first.checkpoint.size))


def signed(new: Items, sizes: Sequence[int], signer: Signer) -> list[bytes]:
    """Checkpoints of a log at these sizes, by whatever key."""
    frontier, notes, due = Frontier(), [], set(sizes)
    for seq, (durable, body) in enumerate(new, 1):
        frontier.extend([leaf_hash(seq, durable, body)])
        if seq in due:
            notes.append(write_note(Checkpoint(signer.verifier.name, seq, frontier.root()).text(), [signer]))
    return notes


class _Disguise(Signer):
    """Signs with its own key and says that it was another."""

    def __init__(self, of: Signer, verifier: Verifier) -> None:
        self._key = of._key
        self.verifier = verifier


def _disguised(note: bytes, true: Verifier, forger: Signer) -> bytes:
    text = note.decode().partition("\n\n")[0] + "\n"
    if Checkpoint.parse(text).origin != forger.verifier.name or forger.line(text).encode() not in note:
        return note
    return write_note(text, [_Disguise(forger, true)])


# --- older moments ----------------------------------------------------------------------------------------------------


def put_back(made: Made, chance: random.Random) -> Case:
    """Everything as it was at an earlier moment; a charge point has seen the newest checkpoint."""
    moment = chance.choice([one for one in made.moments if one.notes < len(made.kept)])
    return Case(moment.image, made.history, witnessed=made.history.notes)


def regrown(made: Made, chance: random.Random, *, planted: bool = False) -> Case:
    """An earlier moment was put back, and Central wrote on before the witness came: the log is longer than it knows."""
    able = [kept for kept in made.kept if _before(made, kept.checkpoint)]
    known = chance.choice(able).checkpoint
    moment = chance.choice(_before(made, known))
    wanted = known.size + chance.randint(0, REGROWN)
    if planted:
        # Behind a power of two no node of the present edge is one of the remembered root's.
        wanted = max(wanted, 1 << (known.size - 1).bit_length()) + 1
    image = _written_on(made, moment, wanted, chance)
    if planted:
        image = _planted(image, made.image[TREE], known.size)
    return Case(image, made.history, witnessed=[kept.data for kept in made.kept if kept.checkpoint.size <= known.size])


def regrown_planted(made: Made, chance: random.Random) -> Case:
    """… and in the file of derived nodes stand those of the old past, from which the witness's root would follow."""
    return regrown(made, chance, planted=True)


def _before(made: Made, known: Checkpoint) -> list[Moment]:
    return [moment for moment in made.moments if known.size - BACK <= moment.records < known.size]


def _written_on(made: Made, moment: Moment, wanted: int, chance: random.Random) -> dict[str, bytes]:
    files = Memory(moment.image)
    journal, attestor = opened(HERE, files, made.signer, made.segment_bytes)
    bodies = [record.body for record in made.history.records[KEY_NAMED:]]
    while journal.last < wanted:
        journal.append(chance.choice(bodies))
        journal.flush()
    attestor.checkpoints.sync(0.0)
    journal.close()
    return files.image()


def _planted(image: Image, old: bytes, size: int) -> dict[str, bytes]:
    """The old past's complete subtrees of ``size`` leaves, in their places."""
    tree, begin = bytearray(image[TREE]), 0
    for level in range(size.bit_length() - 1, -1, -1):
        if size >> level & 1:
            at = stored_index(level, begin >> level) * HASH_SIZE
            tree[at : at + HASH_SIZE] = old[at : at + HASH_SIZE]
            begin += 1 << level
    return {**image, TREE: bytes(tree)}


# --- other keys -------------------------------------------------------------------------------------------------------


def new_log(made: Made, chance: random.Random) -> Case:
    """Another history, whole and signed, by the attacker's own key."""
    forger = Signer(ORIGIN, chance.randbytes(32))
    new = _invented(made, chance, forger.verifier)
    notes = signed(new, [*range(50, len(new), 50), len(new)], forger)
    image = with_notes(written(new, made.segment_bytes), notes)
    return Case(image, made.history, Place(HERE.name, 0, 2), witnessed=made.history.notes)


def new_log_unsigned(made: Made, chance: random.Random) -> Case:
    """Another history that names the true key, or none, and has no checkpoint: nothing in it is false."""
    new = _invented(made, chance, made.signer.verifier if chance.random() < 0.5 else None)
    return Case(written(new, made.segment_bytes), made.history, witnessed=made.history.notes)


def _invented(made: Made, chance: random.Random, key: Verifier | None) -> Items:
    bodies = [record.body for record in made.history.records[KEY_NAMED:]]
    start = [MARK] if key is None else [MARK, signing_key_body(key, None)]
    chosen = start + chance.choices(bodies, k=chance.randint(20, len(bodies)))
    return [(place, body) for place, body in enumerate(chosen)]


# --- what nobody has signed yet ---------------------------------------------------------------------------------------


def unsigned_end(made: Made, chance: random.Random) -> Case:
    """The machine stopped between two checkpoints; above the newest one a record is changed, removed or added."""
    moment = chance.choice(made.moments)
    history = made.at(moment)
    new = [(record.durable, record.body) for record in history.records]
    covered = made.kept[moment.notes - 1].checkpoint.size
    what = chance.choice(["change", "remove", "cut", "add"]) if covered < len(new) else "add"
    place = chance.randrange(covered, len(new)) if what != "add" else len(new)
    if what == "change":
        new[place] = (new[place][0], other_body(made, chance, new[place][1]))
    elif what == "remove":
        new = without(new, place)
    elif what == "cut":
        new = new[:place]
    else:
        new.append((len(new), other_body(made, chance, MARK)))
    image = with_segments(moment.image, written(new, made.segment_bytes))
    return Case(image, history, witnessed=history.notes, open_end=True)


def unsigned_end_witnessed(made: Made, chance: random.Random) -> Case:
    """The same, when a peer has seen a later checkpoint than the one on the disk."""
    able = [
        moment
        for moment in made.moments
        if moment.notes > 1 and made.kept[moment.notes - 1].checkpoint.size <= moment.records
    ]
    moment = chance.choice(able)
    history = made.at(moment)
    covered, seen = (made.kept[moment.notes - number].checkpoint.size for number in (2, 1))
    new = [(record.durable, record.body) for record in history.records]
    place = chance.randrange(covered, seen)
    new[place] = (new[place][0], other_body(made, chance, new[place][1]))
    image = with_segments(moment.image, written(new, made.segment_bytes))
    return Case(with_notes(image, history.notes[:-1]), history, witnessed=history.notes, open_end=True)


# --- the derived file -------------------------------------------------------------------------------------------------


def tree_exchanged(made: Made, chance: random.Random) -> Case:
    """`tree` is gone, empty, random, of an earlier moment, or too long."""
    tree = made.image[TREE]
    new = chance.choice(
        [
            b"",
            chance.randbytes(len(tree)),
            chance.choice(made.moments).image[TREE],
            tree[: chance.randrange(len(tree))],
            tree + chance.randbytes(chance.randint(1, 10 * HASH_SIZE)),
        ]
    )
    image = {**made.image, TREE: new}
    if not new:
        del image[TREE]
    return Case(image, made.history)


PASTS: dict[str, tuple[str, Attack]] = {
    "notes-cut": ("`checkpoints` cut, emptied, removed", notes_cut),
    "notes-older": ("`checkpoints` of an earlier moment", notes_older),
    "note-out": ("a checkpoint removed", note_out),
    "notes-swapped": ("two checkpoints swapped", notes_swapped),
    "notes-forged": ("body changed, checkpoints of another key", notes_forged),
    "put-back": ("all files put back to an earlier moment", put_back),
    "regrown": ("… and written on beyond what is witnessed", regrown),
    "regrown-planted": ("… and the old nodes planted in `tree`", regrown_planted),
    "new-log": ("a new log, signed by another key", new_log),
    "new-log-unsigned": ("a new log that nobody signed", new_log_unsigned),
    "unsigned-end": ("end above the newest checkpoint rewritten", unsigned_end),
    "unsigned-end-witnessed": ("… when a peer has a newer checkpoint", unsigned_end_witnessed),
    "tree-exchanged": ("`tree` exchanged or removed", tree_exchanged),
}
