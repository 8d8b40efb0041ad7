"""Edits of reviewers: made on the version that was read, under the lease, and never lost."""

import threading
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionacc_dagster.operations import caption_review
from captionacc_dagster.operations.caption_edits import stored_captions
from captionacc_dagster.operations.caption_review import (
    Edit,
    Target,
    merge_captions,
    remove_caption,
    replace_captions,
    restore_caption,
    review_captions,
    set_caption,
    split_caption,
)
from captionacc_dagster.resources.catalog import LockHeldError, VideoRow
from modal_gpu.captions.edits import EditError, Wanted
from modal_gpu.captions.reviewing import review_cues
from modal_gpu.databases.captions import read_captions, write_captions
from modal_gpu.errors import StorageError
from tests.line_fixtures import Line
from tests.modal_gpu.captions.test_edits import FOOTAGE, THREE, caption


class Desk:
    """A reviewer of the finished clip."""

    def __init__(self, line: Line, video: VideoRow, owner: str = "review page, anna") -> None:
        self.line, self.video, self.owner = line, video, owner

    def cues(self):
        return review_cues(stored_captions(self.line.store, self.video), self.video.timeline)

    def target(self, place: int) -> Target:
        return self.read(self.cues()[place])

    @staticmethod
    def read(cue) -> Target:
        return Target(cue.id, cue.version)

    def review(self, *edits: Edit, wait_seconds: float = 5):
        return review_captions(
            self.line.catalog,
            self.line.store,
            self.video,
            edits,
            owner=self.owner,
            growing="fold",
            wait_seconds=wait_seconds,
        )

    def set(self, target: Target, text: str, **more):
        return self.review(Edit((target,), set_caption(text, **more)))


@pytest.fixture
def desk(line: Line, finished: VideoRow) -> Desk:
    return Desk(line, finished)


def statuses(reviewed):
    return [outcome.status for outcome in reviewed.outcomes]


class TestOneEdit:
    def test_it_is_published_with_its_version(self, desk: Desk):
        before = desk.cues()
        reviewed = desk.set(desk.read(before[0]), "Mine!")
        (row,) = reviewed.changed
        assert statuses(reviewed) == ["done"] and reviewed.is_written
        assert (row.caption.best_text, row.is_reviewed, row.version != before[0].version) == (
            "Mine!",
            True,
            True,
        )
        keys = desk.line.keys(desk.video.video_id)
        assert "Mine!" in desk.line.store.get(keys.srt).decode()

    def test_one_that_could_not_be_stored_is_published_when_it_is_sent_again(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ):
        keys = desk.line.keys(desk.video.video_id)
        put = desk.line.store.put
        for failing in (keys.srt, keys.vtt, keys.captions_db):
            read, text = desk.target(0), f"Without {failing[-3:]}."

            def put_others(key: str, *more: str, failing: str = failing) -> None:
                if key == failing:
                    raise StorageError("the bucket does not answer")
                put(key, *more)

            with monkeypatch.context() as patch:
                patch.setattr(desk.line.store, "put", put_others)
                with pytest.raises(StorageError):
                    desk.set(read, text)
            desk.set(read, text)
            assert desk.cues()[0].caption.best_text == text
            assert all(text in desk.line.store.get(key).decode() for key in (keys.srt, keys.vtt))

    def test_of_two_windows_the_second_gets_both_texts(self, desk: Desk):
        read = desk.target(0)
        desk.set(read, "First window.")
        reviewed = Desk(desk.line, desk.video, "review page, ben").set(read, "Second window.")
        (outcome,) = reviewed.outcomes
        assert outcome.status == "conflict" and not reviewed.is_written
        assert outcome.current[read.id].caption.best_text == "First window."
        assert desk.cues()[0].caption.best_text == "First window."

    def test_an_edit_whose_answer_was_lost_can_be_sent_again(self, desk: Desk):
        read = desk.target(0)
        for _ in range(2):
            reviewed = desk.set(read, "Once.")
            assert statuses(reviewed) == ["done"] and reviewed.outcomes[0].made == (read.id,)
        assert not reviewed.is_written
        gone = desk.target(1)
        for _ in range(2):
            assert statuses(desk.review(Edit((gone,), remove_caption()))) == ["done"]

    def test_lost_answers_of_splits_merges_and_additions_can_be_asked_for_again(self, desk: Desk):
        """Otherwise what a person did next to the captions that they made would be lost."""
        first, second = desk.cues()[:2]
        start, end, middle = first.timed.start, first.timed.end, (first.timed.start + first.timed.end) // 2
        split = Edit(
            (desk.read(first),), replace_captions([Wanted(start, middle, "A"), Wanted(middle, end, "B")])
        )
        made = desk.review(split).outcomes
        assert desk.review(split).outcomes == made and len(made[0].made) == 2
        parts = tuple(desk.read(cue) for cue in desk.cues() if cue.id in made[0].made)
        merge = Edit(parts, replace_captions([Wanted(start, end, "A B")]))
        assert desk.review(merge).outcomes == desk.review(merge).outcomes
        desk.review(Edit((desk.read(second),), remove_caption()))
        there = second.timed
        add = Edit((), replace_captions([Wanted(there.start, there.end, "New.", reviewed=False)]))
        added = desk.review(add).outcomes
        again = desk.review(add)
        assert again.outcomes == added and added[0].status == "done" and not again.is_written

    def test_one_that_was_never_read_is_not_removed_by_a_change_of_its_times(self, desk: Desk):
        captions = stored_captions(desk.line.store, desk.video)
        captions[0] = replace(captions[0], ocr_text=None, text=None)
        desk.line.store.put(desk.line.keys(desk.video.video_id).captions_db, write_captions(captions))
        unread = desk.cues()[0]
        for make in (set_caption(), set_caption(end=unread.timed.end - 100)):
            reviewed = desk.review(Edit((desk.read(unread),), make))
            assert statuses(reviewed) == ["refused"] and "never read" in reviewed.outcomes[0].message
        assert desk.cues()[0].standing == "unread"

    def test_split_merge_remove_and_restore(self, desk: Desk):
        first, second = desk.cues()[:2]
        middle = (first.timed.start + first.timed.end) // 2
        split = desk.review(Edit((desk.read(first),), split_caption(middle, ("A", "B"))))
        made = split.outcomes[0].made
        assert made[0] == first.id and len(made) == 2
        parts = [cue for cue in desk.cues() if cue.id in made]
        assert [cue.caption.best_text for cue in parts] == ["A", "B"]
        merged = desk.review(Edit(tuple(map(desk.read, parts)), merge_captions("Whole.")))
        assert merged.outcomes[0].made == (first.id,) and merged.gone == [made[1]]
        whole = desk.cues()[0]
        assert (whole.timed.start, whole.timed.end) == (first.timed.start, first.timed.end)
        assert statuses(desk.review(Edit((desk.read(second),), remove_caption()))) == ["done"]
        removed = next(cue for cue in desk.cues() if cue.id == second.id)
        assert removed.standing == "removed"
        desk.review(Edit((desk.read(removed),), restore_caption(None)))
        back = next(cue for cue in desk.cues() if cue.id == second.id)
        assert (back.standing, back.caption.best_text) == ("shown", second.caption.best_text)

    def test_one_that_cannot_be_made_is_refused_with_its_reason(self, desk: Desk):
        reviewed = desk.review(Edit((desk.target(0),), set_caption(end=9_000_000)))
        assert statuses(reviewed) == ["refused"]
        assert "after the video's end" in reviewed.outcomes[0].message


class TestSeveralEdits:
    def test_a_conflict_does_not_hold_up_the_others(self, desk: Desk):
        first, second, third = (desk.target(place) for place in range(3))
        desk.set(second, "Someone was here.")
        reviewed = desk.review(
            Edit((first,), set_caption("One.")),
            Edit((second,), set_caption("Two.")),
            Edit((third,), set_caption("Three.")),
        )
        assert statuses(reviewed) == ["done", "conflict", "done"]
        assert [cue.caption.best_text for cue in desk.cues()] == ["One.", "Someone was here.", "Three."]

    def test_a_lock_that_a_run_holds_changes_nothing_and_is_free_later(self, desk: Desk):
        before = desk.line.stored(desk.video.video_id)
        read = desk.target(0)
        with desk.line.catalog.lease(desk.video.video_id, "captions", "run 1"):
            with pytest.raises(LockHeldError, match="run 1"):
                desk.review(Edit((read,), set_caption("Later.")), wait_seconds=0.1)
            assert desk.line.stored(desk.video.video_id) == before
        assert statuses(desk.set(read, "Later.")) == ["done"]


MANY = [caption(number, 2 * number, 2 * number + 1, f"Line {number}.") for number in range(1, 20)]


@given(
    st.lists(st.integers(1, 19), unique=True, min_size=2, max_size=8),
    st.sampled_from(["confirm", "text", "remove", "taken back"]),
)
def test_edits_at_once_are_the_edits_one_by_one(numbers, kind):
    make = {
        "confirm": set_caption(),
        "text": set_caption("Other."),
        "remove": remove_caption(),
        "taken back": set_caption(reviewed=False),
    }[kind]
    versions = {cue.id: cue.version for cue in review_cues(MANY)}
    edits = [Edit((Target(number, versions[number]),), make) for number in numbers]
    together = caption_review._all_at_once(MANY, edits, FOOTAGE)
    assert together is not None
    outcomes, captions = [], MANY
    for edit in edits:
        outcome, captions = caption_review._one(captions, edit, FOOTAGE)
        outcomes.append(outcome)
    assert [one.made for one in together[0]] == [one.made for one in outcomes]
    facts = [[(c.id, c.best_text, c.state, c.start_index) for c in read] for read in (together[1], captions)]
    assert facts[0] == facts[1]


def test_a_conflict_leaves_the_others_to_be_made_at_once():
    versions = {cue.id: cue.version for cue in review_cues(MANY)}
    edits = [Edit((Target(n, versions[n] if n > 1 else "0" * 16),), set_caption("Other.")) for n in (1, 2, 3)]
    together = caption_review._all_at_once(MANY, edits, FOOTAGE)
    assert together is not None
    assert [one.status for one in together[0]] == ["conflict", "done", "done"]
    assert [c.best_text for c in together[1][:4]] == ["Line 1.", "Other.", "Other.", "Line 4."]


def test_several_are_not_replaced_by_several():
    two = tuple(cue.timed for cue in review_cues(THREE)[:2])
    with pytest.raises(EditError, match="several by one"):
        replace_captions([Wanted(1000, 2000, "a"), Wanted(2000, 4000, "b")])([], two)


@pytest.mark.parametrize("rounds", [20, pytest.param(1000, marks=pytest.mark.slow)])
def test_edits_while_a_run_writes_are_never_lost(desk: Desk, rounds: int, record_property):
    """Two windows count up in the captions' texts: a text that was overwritten would be missing in the sum.

    Between what a window reads and its edit, the other one edits, or a run rewrites what is nobody's.
    """
    video, places = desk.video, len(desk.cues()) - 1
    for place in range(places):
        desk.set(desk.target(place), "0")
    run = RewritingRun(desk)
    conflicts = 0

    def window(name: str) -> None:
        nonlocal conflicts
        mine = Desk(desk.line, video, name)
        for turn in range(rounds // 2):
            while True:
                cue = mine.cues()[turn % places]
                before = run.ask()
                count = int(cue.caption.best_text.split()[0])
                try:
                    (outcome,) = mine.set(mine.read(cue), f"{count + 1} {name}").outcomes
                except LockHeldError:
                    continue  # As the page does: locks are not handed out in turn.
                if outcome.status == "done":
                    run.wait(before)
                    break
                assert outcome.status == "conflict"
                conflicts += 1

    with ThreadPoolExecutor(3) as pool:
        running = pool.submit(run.rewrite_when_asked)
        windows = [pool.submit(window, f"w{number}") for number in range(2)]
        wait(windows)
        run.end()
    for one in (running, *windows):
        one.result()
    *edited, runs_own = desk.cues()
    assert sum(int(cue.caption.best_text.split()[0]) for cue in edited) == rounds and len(edited) == places
    assert runs_own.caption.ocr_confidence == run.confidence and run.rewrites >= rounds / 2
    record_property("outcome", f"{rounds} edits, {run.rewrites} rewrites by a run, {conflicts} conflicts")


class RewritingRun:
    """A run that writes captions anew each time that it is asked, under the lease as runs do."""

    def __init__(self, desk: Desk) -> None:
        self.desk, self.rewrites, self.confidence = desk, 0, 0.0
        self._changed, self._is_asked, self._has_ended = threading.Condition(), False, False

    def ask(self) -> int:
        """Ask for a rewrite; return how many there were before."""
        with self._changed:
            self._is_asked = True
            self._changed.notify_all()
            return self.rewrites

    def wait(self, before: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.rewrites > before, 60)

    def end(self) -> None:
        with self._changed:
            self._has_ended = True
            self._changed.notify_all()

    def rewrite_when_asked(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._is_asked or self._has_ended)
                if self._has_ended:
                    return
                self._is_asked = False
            self._rewrite()
            with self._changed:
                self.rewrites += 1
                self._changed.notify_all()

    def _rewrite(self) -> None:
        line, video_id = self.desk.line, self.desk.video.video_id
        key = line.keys(video_id).captions_db
        with line.catalog.lease(video_id, "captions", "run", wait_seconds=60) as lease:
            self.confidence = 0.5 + self.rewrites % 50 / 100
            captions = [
                one if one.belongs_to_person else replace(one, ocr_confidence=self.confidence)
                for one in read_captions(line.store.get(key))
            ]
            lease.check()
            line.store.put(key, write_captions(captions))
            line.catalog.bump_database_version(lease.token)
