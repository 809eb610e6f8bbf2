"""Whole records taken out, put in, exchanged, rewritten: by somebody who knows the format and has not the key.

The naive attacker moves bytes. The knowing one writes all records behind the change anew, with the right numbers,
checksums and chain, in segments of the right names. What neither has is the key of the checkpoints.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from evcharge.audit.checkpoints import CHECKPOINTS
from evcharge.audit.record import HEADER_SIZE, encode
from tools.tamper.judge import Case, Place
from tools.tamper.made import Made, Spot, with_notes, with_segments, written

Items = list[tuple[int, bytes]]
"""(durable, body) of each record."""
Attack = Callable[[Made, random.Random], Case]


# --- what both attackers use ------------------------------------------------------------------------------------------


def items(made: Made) -> Items:
    """What the log says, without what follows from it."""
    return [(record.durable, record.body) for record in made.history.records]


def rewritten(made: Made, new: Items, first: int, *, cut: bool = False) -> Case:
    """The knowing attacker's log, other from record ``first`` on. ``cut``: without the checkpoints that would tell."""
    image = with_segments(made.image, written(new, made.segment_bytes))
    if cut:
        notes = [kept.data for kept in made.kept if kept.checkpoint.size < first]
        return Case(with_notes(image, notes), made.history, witnessed=made.history.notes)
    kept = made.covering(first)
    place = Place(CHECKPOINTS, kept.offset, kept.checkpoint.size)
    if kept.checkpoint.size > len(new):
        # None of those that would tell can be compared: the newest one says that records are missing.
        place = Place(CHECKPOINTS, made.kept[-1].offset, len(new) + 1)
    return Case(image, made.history, place)


def moved(made: Made, file: str, pieces: Sequence[bytes], place: Place) -> Case:
    """The naive attacker's log: one segment of other records, as long as before."""
    data = b"".join(pieces)[: made.segment_bytes].ljust(made.segment_bytes, b"\0")
    return Case({**made.image, file: data}, made.history, place)


def piece(made: Made, spot: Spot) -> bytes:
    """A record's bytes."""
    return made.image[spot.file][spot.offset : spot.offset + spot.record.size]


def missing(made: Made, seq: int, file: str, offset: int) -> Place:
    """Where it is seen that ``seq`` is not there: in its place, in the next segment, or by the newest checkpoint."""
    later = [spot for spot in made.spots if spot.record.seq > seq]
    if not later:
        return Place(CHECKPOINTS, made.kept[-1].offset, seq)
    return Place(file, offset, seq) if later[0].file == file else Place(later[0].file, 0, seq)


def without(new: Items, place: int) -> Items:
    """One record less; what later ones call durable has other numbers then."""
    return new[:place] + [(durable - (durable > place), body) for durable, body in new[place + 1 :]]


def in_segment(made: Made, file: str) -> list[Spot]:
    """Its records."""
    return [spot for spot in made.spots if spot.file == file]


def other_body(made: Made, chance: random.Random, body: bytes) -> bytes:
    """Another body that can stand there: of another record, or with one byte changed."""
    if chance.random() < 0.5:
        place = chance.randrange(len(body))
        return body[:place] + bytes([body[place] ^ chance.randint(1, 255)]) + body[place + 1 :]
    return chance.choice([record.body for record in made.history.records if record.body != body])


# --- records ----------------------------------------------------------------------------------------------------------


def removed(made: Made, chance: random.Random) -> Case:
    spot = chance.choice(made.spots)
    pieces = [piece(made, one) for one in in_segment(made, spot.file) if one != spot]
    return moved(made, spot.file, pieces, missing(made, spot.record.seq, spot.file, spot.offset))


def removed_knowing(made: Made, chance: random.Random, *, cut: bool = False) -> Case:
    seq = chance.choice(made.spots).record.seq
    return rewritten(made, without(items(made), seq - 1), seq, cut=cut)


def removed_cut(made: Made, chance: random.Random) -> Case:
    return removed_knowing(made, chance, cut=True)


def swapped(made: Made, chance: random.Random) -> Case:
    file = chance.choice(made.segments)
    inside = in_segment(made, file)
    one, two = sorted(chance.sample(range(len(inside)), 2))
    pieces = [piece(made, spot) for spot in inside]
    pieces[one], pieces[two] = pieces[two], pieces[one]
    return moved(made, file, pieces, Place(file, inside[one].offset, inside[one].record.seq))


def swapped_knowing(made: Made, chance: random.Random, *, cut: bool = False) -> Case:
    new = items(made)
    one = chance.randrange(len(new))
    two = chance.choice([place for place, (_, body) in enumerate(new) if body != new[one][1]])
    for here, there in ((one, two), (two, one)):
        new[here] = (new[here][0], made.history.records[there].body)
    return rewritten(made, new, min(one, two) + 1, cut=cut)


def swapped_cut(made: Made, chance: random.Random) -> Case:
    return swapped_knowing(made, chance, cut=True)


def changed(made: Made, chance: random.Random) -> Case:
    """The body is another, and the checksum is right; the chain is not."""
    spot = chance.choice(made.spots)
    record = spot.record
    place = chance.randrange(len(record.body))
    body = record.body[:place] + bytes([record.body[place] ^ chance.randint(1, 255)]) + record.body[place + 1 :]
    data, _ = encode(record.seq, record.durable, body, bytes(32))
    pieces = [data if one == spot else piece(made, one) for one in in_segment(made, spot.file)]
    return moved(made, spot.file, pieces, Place(spot.file, spot.offset, record.seq))


def changed_knowing(made: Made, chance: random.Random, *, cut: bool = False) -> Case:
    new = items(made)
    place = chance.randrange(len(new))
    new[place] = (new[place][0], other_body(made, chance, new[place][1]))
    return rewritten(made, new, place + 1, cut=cut)


def changed_cut(made: Made, chance: random.Random) -> Case:
    return changed_knowing(made, chance, cut=True)


def durable_knowing(made: Made, chance: random.Random) -> Case:
    """What a record calls durable is another number that can stand there."""
    new = items(made)
    # Records between two that leave a choice.
    able = [place for place in range(1, len(new) - 1) if new[place - 1][0] < min(new[place + 1][0], place)]
    place = chance.choice(able)
    lowest, highest = new[place - 1][0], min(new[place + 1][0], place)
    durable = chance.choice([number for number in range(lowest, highest + 1) if number != new[place][0]])
    new[place] = (durable, new[place][1])
    return rewritten(made, new, place + 1)


def inserted(made: Made, chance: random.Random) -> Case:
    """A record of this log once more, somewhere else in its segment."""
    spot, file = chance.choice(made.spots), chance.choice(made.segments)
    inside = in_segment(made, file)
    able = [place for place, one in enumerate(inside) if one.record.seq != spot.record.seq]
    place = chance.choice(able)
    pieces = [piece(made, one) for one in inside]
    pieces.insert(place, piece(made, spot))
    return moved(made, file, pieces, Place(file, inside[place].offset, inside[place].record.seq))


def inserted_knowing(made: Made, chance: random.Random, *, cut: bool = False) -> Case:
    new = items(made)
    place = chance.randrange(len(new))
    durable, before = new[place]
    later = [(number + (number > place), body) for number, body in new[place:]]
    return rewritten(made, [*new[:place], (durable, other_body(made, chance, before)), *later], place + 1, cut=cut)


def inserted_cut(made: Made, chance: random.Random) -> Case:
    return inserted_knowing(made, chance, cut=True)


# --- ends and segments ------------------------------------------------------------------------------------------------


def cut_between(made: Made, chance: random.Random) -> Case:
    """The log ends behind a record: zeros from there, and no later segment."""
    spot = chance.choice(made.spots[:-1])
    image = _ended(made, spot, spot.offset + spot.record.size)
    return Case(image, made.history, Place(CHECKPOINTS, made.kept[-1].offset, spot.record.seq + 1))


def cut_inside(made: Made, chance: random.Random) -> Case:
    """The log ends within a record, with zeros behind it or with the end of the file."""
    spot = chance.choice(made.spots)
    end = spot.offset + chance.randint(1, HEADER_SIZE + len(spot.record.body))
    image = _ended(made, spot, end)
    if chance.random() < 0.5:
        image[spot.file] = image[spot.file][:end]
    return Case(image, made.history, Place(spot.file, spot.offset, spot.record.seq))


def _ended(made: Made, spot: Spot, end: int) -> dict[str, bytes]:
    image = {name: data for name, data in made.image.items() if name not in made.segments or name <= spot.file}
    image[spot.file] = image[spot.file][:end].ljust(made.segment_bytes, b"\0")
    return image


def segments_off_the_end(made: Made, chance: random.Random) -> Case:
    left = made.segments[: chance.randrange(len(made.segments))]
    image = {name: data for name, data in made.image.items() if name not in made.segments or name in left}
    seq = 1 + max((spot.record.seq for spot in made.spots if spot.file in left), default=0)
    return Case(image, made.history, Place(CHECKPOINTS, made.kept[-1].offset, seq))


def segment_out(made: Made, chance: random.Random) -> Case:
    """A segment that is not the last one is gone."""
    place = chance.randrange(len(made.segments) - 1)
    file, behind = made.segments[place : place + 2]
    image = {name: data for name, data in made.image.items() if name != file}
    return Case(image, made.history, Place(behind, 0, in_segment(made, file)[0].record.seq))


def segment_out_knowing(made: Made, chance: random.Random, *, cut: bool = False) -> Case:
    """A run of records as long as up to a segment is gone, the rest is numbered and chained anew."""
    first = chance.randrange(len(made.spots) - 1)
    many = min(chance.randint(2, len(in_segment(made, made.segments[0]))), len(made.spots) - first)
    new = items(made)
    for _ in range(many):
        new = without(new, first)
    return rewritten(made, new, first + 1, cut=cut)


def segment_out_cut(made: Made, chance: random.Random) -> Case:
    return segment_out_knowing(made, chance, cut=True)


RECORDS: dict[str, tuple[str, Attack]] = {
    "removed": ("record removed", removed),
    "removed-knowing": ("record removed, the rest numbered and chained anew", removed_knowing),
    "removed-cut": ("… and later checkpoints cut off", removed_cut),
    "swapped": ("two records swapped", swapped),
    "swapped-knowing": ("two bodies swapped, chained anew", swapped_knowing),
    "swapped-cut": ("… and later checkpoints cut off", swapped_cut),
    "changed": ("body changed, checksum right", changed),
    "changed-knowing": ("body changed, chained anew", changed_knowing),
    "changed-cut": ("… and later checkpoints cut off", changed_cut),
    "durable-knowing": ("`durable` changed, chained anew", durable_knowing),
    "inserted": ("record put in twice", inserted),
    "inserted-knowing": ("record put in, the rest numbered and chained anew", inserted_knowing),
    "inserted-cut": ("… and later checkpoints cut off", inserted_cut),
    "cut-between": ("log cut behind a record", cut_between),
    "cut-inside": ("log cut within a record", cut_inside),
    "segments-off-the-end": ("segments removed from the end", segments_off_the_end),
    "segment-out": ("segment removed before others", segment_out),
    "segment-out-knowing": ("run of records removed, the rest chained anew", segment_out_knowing),
    "segment-out-cut": ("… and later checkpoints cut off", segment_out_cut),
}
